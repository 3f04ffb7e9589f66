package receive

// nearest returns the one of words that is most like word, "" when none is
// like it: at most two letters apart, and less than half of the word.
func nearest(word string, words []string) string {
	best, apart := "", min(2, (len(word)-1)/2)+1
	if len(word) > 64 {
		return ""
	}
	for _, w := range words {
		if len(w) > len(word)+2 || len(word) > len(w)+2 {
			continue
		}
		if d := distance(word, w); d < apart {
			best, apart = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, change or swap with their
// neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			change := row[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			next[j] = min(change, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

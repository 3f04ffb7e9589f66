package sshd

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var wordLines = map[string][]string{
	"":                        nil,
	" \t ":                    nil,
	"push foo-1:2-1.pkg":      {"push", "foo-1:2-1.pkg"},
	"\ta  b\t ":               {"a", "b"},
	`'a b' "c d"`:             {"a b", "c d"},
	`'' ""`:                   {"", ""},
	`a''b"c"\d`:               {"abcd"},
	`a\ b`:                    {"a b"},
	`'a\b'`:                   {`a\b`},
	`"\$ \` + "`" + ` \" \\"`: {"$ ` \" \\"},
	`"\a\'"`:                  {`\a\'`},
	`'"' "'"`:                 {`"`, `'`},
	`--package='linux-*'`:     {"--package=linux-*"},
	"\u00fc \xff":             {"\u00fc", "\xff"},
}

func TestSplitWords(t *testing.T) {
	for line, want := range wordLines {
		if got, err := SplitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestSplitWordsExpandsNothing(t *testing.T) {
	const line = "$HOME `id` $(id) ; | & < > * ? [a] {a,b} ~ # ! a=b &&"
	if got, err := SplitWords(line); err != nil || !slices.Equal(got, strings.Fields(line)) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSplitWordsRefuses(t *testing.T) {
	for _, line := range []string{
		"'", `"`, "a 'b", `a "b`, `a\`, `"a\`, `"a\"`, "a\nb", "'a\nb'", "a\x00b", strings.Repeat("a", MaxLine+1),
	} {
		if got, err := SplitWords(line); err == nil {
			t.Errorf("%.40q: %.40q, want an error", line, got)
		}
	}
	if _, err := SplitWords(strings.Repeat("a", MaxLine)); err != nil {
		t.Error(err)
	}
}

// What contains only quoting means here what it means to a POSIX shell.
func TestSplitWordsAgreesWithTheShell(t *testing.T) {
	for line, want := range wordLines {
		// printf repeats its format for each word; without words it prints
		// one empty one.
		out, err := exec.Command("sh", "-c", `printf '<%s>' `+line).Output()
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(want) == 0 {
			want = []string{""}
		}
		if ours := "<" + strings.Join(want, "><") + ">"; ours != string(out) {
			t.Errorf("%q: %s here, %s there", line, ours, out)
		}
	}
}

// The longest lines take no longer than their length explains: a quadratic
// algorithm would need minutes for these.
func TestSplitWordsIsLinear(t *testing.T) {
	for _, piece := range []string{"a", "a ", `\a`, `"a"`, "''", `"\\"`, " "} {
		line := strings.Repeat(piece, MaxLine/len(piece))
		for range 20 {
			if _, err := SplitWords(line); err != nil {
				t.Fatal(err)
			}
		}
	}
}

package source

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"serene/internal/source/aurtest"
)

// What was not fetched for long goes, but for what is being fetched.
func TestPrune(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("old", "1-1"), aurtest.Simple("used", "1-1"), aurtest.Simple("busy", "1-1"))
	f := fetcher(t)
	if n, err := f.Prune(time.Now()); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
	long := time.Now().Add(-time.Hour)
	for _, base := range []string{"old", "used", "busy"} {
		mustFetch(t, f, aurRef(s, base))
		if err := os.Chtimes(filepath.Join(f.Cache, base), long, long); err != nil {
			t.Fatal(err)
		}
	}
	mustFetch(t, f, aurRef(s, "used"))
	release, err := f.acquire(t.Context(), filepath.Join(f.Cache, "busy"))
	if err != nil {
		t.Fatal(err)
	}
	prune := func(want int, left ...string) {
		t.Helper()
		if n, err := f.Prune(time.Now().Add(-time.Minute)); n != want || err != nil {
			t.Errorf("removed %d, %v; want %d", n, err, want)
		}
		entries, err := os.ReadDir(f.Cache)
		if err != nil || len(entries) != len(left) {
			t.Fatalf("left %v, %v; want %v", entries, err, left)
		}
		for i, e := range entries {
			if e.Name() != left[i] {
				t.Errorf("left %v, want %v", entries, left)
			}
		}
	}
	prune(1, "busy", "used")
	release()
	prune(1, "used")
	mustFetch(t, f, aurRef(s, "old"))
}

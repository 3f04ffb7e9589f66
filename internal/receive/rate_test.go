package receive

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	rate, err := ParseRate("3/m")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bucket")
	now := time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		after, wait time.Duration
	}{
		{0, 0}, {0, 0}, {0, 0}, // a full bucket
		{0, 20 * time.Second},
		{15 * time.Second, 5 * time.Second},
		{5 * time.Second, 0},
		{0, 20 * time.Second},
		{time.Hour, 0}, {0, 0}, {0, 0}, // full again, not fuller
		{0, 20 * time.Second},
		{-10 * time.Hour, 20 * time.Second}, // the clock was set back
	} {
		now = now.Add(step.after)
		wait, err := rate.take(file, now)
		if err != nil {
			t.Fatal(err)
		}
		if wait != step.wait {
			t.Errorf("step %d: wait %v, want %v", i, wait, step.wait)
		}
	}
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if wait, err := rate.take(file, now); wait != 0 || err != nil {
		t.Errorf("after garbage: %v, %v", wait, err)
	}
	if _, err := rate.take(filepath.Join(file, "x"), now); err == nil {
		t.Error("a bucket that cannot be written lets through")
	}
}

func TestParseRate(t *testing.T) {
	for _, s := range []string{"60/h", "1/s", "1000000000/s", "5/d", "10/m"} {
		r, err := ParseRate(s)
		if err != nil || r.String() != s {
			t.Errorf("ParseRate(%s) = %s, %v", s, r, err)
		}
	}
	if (Rate{}).String() != "" {
		t.Error("the zero Rate has words")
	}
}

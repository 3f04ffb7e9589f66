package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTestLog(t *testing.T, limit int64, w io.Writer) *Log {
	t.Helper()
	l, err := NewLog(filepath.Join(t.TempDir(), "log"), limit, w)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLog(t *testing.T) {
	for _, c := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"empty", nil, ""},
		{"head", []string{"0123", "456"}, "0123456"},
		{"head full", []string{"0123", "456789ab"}, "0123456789ab"},
		{"into the tail", []string{"0123456789ab", "cd"}, "0123456789abcd"},
		{"tail full", []string{"0123456789abcdef"}, "0123456789abcdef"},
		{"one left out", []string{"0123456789abcdefg"}, "0123456789ab\n==> [log] 1 bytes left out\ndefg"},
		{"many left out", []string{"0123456789ab", strings.Repeat("x", 1001), "wxyz"}, "0123456789ab\n==> [log] 1001 bytes left out\nwxyz"},
		{"between rounds", []string{"0123456789ab", strings.Repeat("x", 101), "YZ"}, "0123456789ab\n==> [log] 99 bytes left out\nxxYZ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			l := newTestLog(t, 16, &got) // 12 of head, 4 of tail
			for _, w := range c.writes {
				if n, err := io.WriteString(l, w); n != len(w) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := l.Close(t.Context(), "verdict"); err != nil {
				t.Fatal(err)
			}
			if want := c.want + "verdict\n"; got.String() != want {
				t.Errorf("got %q\nwant %q", got.String(), want)
			}
			sum := sha256.Sum256(got.Bytes())
			if l.SHA256() != hex.EncodeToString(sum[:]) {
				t.Error("the digest is not of what was handed on")
			}
		})
	}
}

// stalled is a reader that takes nothing until it is released.
type stalled struct {
	release chan struct{}
	got     bytes.Buffer
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.release
	return s.got.Write(p)
}

// A reader that stalls does not keep the build from writing, and gets all that
// is kept once it goes on.
func TestLogStalledReader(t *testing.T) {
	r := &stalled{release: make(chan struct{})}
	l := newTestLog(t, 1<<20, r)
	line := strings.Repeat("x", 99) + "\n"
	for range 100_000 {
		if _, err := io.WriteString(l, line); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := l.Close(ctx, "verdict"); err != context.DeadlineExceeded {
		t.Errorf("Close = %v", err)
	}
	close(r.release)
}

// What is printed is handed on without waiting for more.
func TestLogFollows(t *testing.T) {
	r, w := io.Pipe()
	l := newTestLog(t, 1<<20, w)
	for i := range 10 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(l, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != line {
			t.Fatalf("%q, %v", got, err)
		}
	}
	go l.Close(t.Context(), "verdict")
	rest := make([]byte, len("verdict\n"))
	if _, err := io.ReadFull(r, rest); err != nil || string(rest) != "verdict\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

// A reader that fails ends the handing on, not the build.
func TestLogFailingReader(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrClosedPipe)
	l := newTestLog(t, 1<<20, w)
	for range 100 {
		if _, err := io.WriteString(l, "line\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context(), "verdict"); err == nil {
		t.Error("Close hides the reader's error")
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := NewLog(filepath.Join(b.TempDir(), "log"), 64<<20, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := l.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(b.Context(), "verdict"); err != nil {
		b.Fatal(err)
	}
}

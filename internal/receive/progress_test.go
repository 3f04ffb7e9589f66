package receive

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow sends size bytes, a part every second.
type slow struct{ size, part int }

func (s *slow) Read(b []byte) (int, error) {
	if s.size == 0 {
		return 0, io.EOF
	}
	<-time.After(time.Second)
	n := min(s.part, s.size, len(b))
	s.size -= n
	return n, nil
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		p := startProgress(&slow{7 << 20, 1 << 20}, &lockedWriter{w: &lines}, 3*time.Second+time.Millisecond)
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, p, make([]byte, 2<<20)); err != nil {
			t.Fatal(err)
		}
		p.stop()
		p.stop()
		want := "received 3.0 MiB, 1023.7 KiB/s\nreceived 6.0 MiB, 1023.7 KiB/s\n"
		if lines.String() != want {
			t.Errorf("got  %q\nwant %q", lines.String(), want)
		}
	})
}

func TestProgressOfShortUploadIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		p := startProgress(strings.NewReader("x"), &lines, time.Second)
		if _, err := io.ReadAll(p); err != nil {
			t.Fatal(err)
		}
		p.stop()
		if lines.Len() > 0 {
			t.Errorf("printed %q", lines.String())
		}
	})
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 1 << 40: "1.0 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %s, want %s", n, got, want)
		}
	}
}

package receive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// What was read of a file is what is published: nobody puts another one in its
// place while it is open, in this session or in another of the same key.
func TestSFTPOpenFileKeepsItsName(t *testing.T) {
	w := newWorld(t, true)
	foo, file := alpmtest.Package("foo", "1-1")
	s, other := w.sftp(""), w.sftp("")
	f, err := s.OpenFile("/serene/"+file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(foo); err != nil {
		t.Error(err)
	}
	for _, by := range []*sftpSession{s, other} {
		if err := by.Remove("/serene/" + file); err == nil {
			t.Error("a file that is being sent was removed")
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	other.end()
	if r := s.end(); r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	got, err := os.ReadFile(w.state + "/repos/serene/pool/" + file)
	if err != nil || !bytes.Equal(got, foo) {
		t.Errorf("published %d bytes, %v", len(got), err)
	}
}

// broken is a client that goes away after it was answered that often.
type broken struct{ answers int }

func (b *broken) Write(p []byte) (int, error) {
	if b.answers--; b.answers < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

// A client that goes away before its file is asked for leaves it to the next.
func TestSCPGoneBeforeTheFile(t *testing.T) {
	w := newWorld(t, true)
	_, file := alpmtest.Package("foo", "1-1")
	by := Caller{Key: "SHA256:abc", Rights: mustRights(t, "serene-receive")}
	in := strings.NewReader("C0644 1000 " + file + "\n")
	w.Run(context.Background(), by, []string{"scp", "-t", "/serene/"}, Streams{in, &broken{1}, io.Discard})
	s := w.sftp("")
	f, err := s.OpenFile("/serene/"+file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.end()
}

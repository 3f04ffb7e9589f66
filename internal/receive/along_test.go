package receive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// growing is a file with an along whose reader takes in whatever there is.
func growing(t *testing.T, size int64) (*along, *os.File, *bytes.Buffer) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	a, got := newAlong(f, size), new(bytes.Buffer)
	go func() {
		defer close(a.done)
		_, a.err = io.Copy(got, a)
	}()
	return a, f, got
}

func (a *along) reached() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read
}

func (a *along) write(t *testing.T, b []byte, off int64) {
	t.Helper()
	n, err := a.file.WriteAt(b, off)
	if err != nil {
		t.Error(err)
	}
	a.wrote(off, n)
}

func TestAlongReadsWhatArrivesInAnyOrder(t *testing.T) {
	const block, blocks, workers = 1000, 500, 8
	a, _, got := growing(t, 0)
	want := make([]byte, block*blocks-1)
	rand.Read(want)
	order := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range order {
				a.write(t, want[i*block:min((i+1)*block, len(want))], int64(i*block))
			}
		})
	}
	const window = 64
	for from := 0; from < blocks; from += window {
		for _, i := range mathrand.Perm(min(window, blocks-from)) {
			order <- from + i
		}
	}
	close(order)
	all.Wait()
	if _, err := a.finish(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("read %d bytes, which are not the %d written", got.Len(), len(want))
	}
}

func TestAlongGoesOnWithWhatWasThere(t *testing.T) {
	a, _, got := growing(t, 10)
	a.write(t, []byte("more"), 10)
	if _, err := a.finish(14); err != nil || got.Len() != 14 {
		t.Errorf("read %d bytes, %v", got.Len(), err)
	}
}

// What was read counts only if it is what the file has in the end.
func TestAlongSpoiled(t *testing.T) {
	for name, write := range map[string]func(a *along){
		"written again once it was read": func(a *along) {
			a.write(t, []byte("0123456789"), 0)
			for a.reached() < 10 {
				runtime.Gosched()
			}
			a.write(t, []byte("x"), 9)
		},
		"a hole":              func(a *along) { a.write(t, []byte("56789"), 5) },
		"a gap that overlaps": func(a *along) { a.write(t, []byte("56789"), 5); a.write(t, []byte("012345"), 0) },
		"another size":        func(a *along) { a.write(t, []byte("012345"), 0) },
		"too many gaps": func(a *along) {
			for i := range int64(2 * maxGaps) {
				a.write(t, []byte("x"), 2*i+1)
			}
			a.write(t, make([]byte, 10), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, _, _ := growing(t, 0)
			write(a)
			if _, err := a.finish(10); !errors.Is(err, errSpoiled) {
				t.Errorf("finish: %v", err)
			}
			a.stop()
			if len(a.gaps) > maxGaps+1 {
				t.Errorf("%d gaps are remembered", len(a.gaps))
			}
		})
	}
}

// A client may send its blocks in any order, more than once, and leave some for
// later: what counts is the file that it closes.
func TestSFTPWritesInAnyOrder(t *testing.T) {
	foo, file := alpmtest.Package("foo", "1-1", alpmtest.Payload(300<<10))
	half := int64(len(foo) / 2)
	for name, write := range map[string]func(f io.WriterAt) error{
		"backwards": func(f io.WriterAt) error {
			_, err := f.WriteAt(foo[half:], half)
			_, err2 := f.WriteAt(foo[:half], 0)
			return errors.Join(err, err2)
		},
		"twice": func(f io.WriterAt) error {
			_, err := f.WriteAt(make([]byte, len(foo)), 0)
			_, err2 := f.WriteAt(foo, 0)
			return errors.Join(err, err2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true)
			s := w.sftp("")
			f, err := s.OpenFile("/serene/"+file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(write(f), f.Close()); err != nil {
				t.Error(err)
			}
			if r := s.end(); r.code != exitOK {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
			if got := w.must(w.do("", "list")).out; got != "serene/x86_64 foo 1-1\n" {
				t.Errorf("published %q", got)
			}
		})
	}
}

// Two files that are open at a time are both taken: only one is read along.
func TestSFTPTwoFilesAtATime(t *testing.T) {
	w := newWorld(t, true)
	s := w.sftp("")
	var open []io.WriteCloser
	var left [][]byte
	for _, name := range []string{"foo", "bar"} {
		data, file := alpmtest.Package(name, "1-1", alpmtest.Payload(100<<10))
		f, err := s.OpenFile("/serene/"+file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data[:1000]); err != nil {
			t.Error(err)
		}
		open, left = append(open, f), append(left, data[1000:])
	}
	for i, f := range open {
		if _, err := f.Write(left[i]); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if r := s.end(); r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if got := w.must(w.do("", "list")).out; got != "serene/x86_64 bar 1-1\nserene/x86_64 foo 1-1\n" {
		t.Errorf("published %q", got)
	}
}

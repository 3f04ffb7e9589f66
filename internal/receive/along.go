package receive

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"serene/internal/alpm"
)

// maxGaps bounds the writes that are remembered because something before them
// is still to come. Clients have some 64 on their way.
const maxGaps = 1024

// along reads a package while its file is being written, so that little is left
// to be done when the client closes it. What it has found counts only if nothing
// was written that it had read by then.
type along struct {
	file *os.File

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	mark    int64           // bytes that are there, without a gap
	gaps    map[int64]int64 // what is there beyond mark: where it ends, by where it begins
	read    int64           // bytes that are read, or about to be
	whole   bool            // no more will be written
	spoiled bool            // what was read is no longer what is there

	done chan struct{} // closed when pkg and err are there
	pkg  *alpm.Package
	err  error
}

var errSpoiled = errors.New("written to again after it was read")

// readAlong begins to read f, which is to be the package called name. One at a
// time in a session: each may take the memory of a decompressor. It returns nil
// for other files, which are read once they are whole.
func (t *transfer) readAlong(name string, f *os.File) *along {
	st, err := f.Stat()
	if err != nil || t.reads || strings.HasSuffix(name, ".sig") {
		return nil
	}
	t.reads = true
	a := newAlong(f, st.Size())
	go a.run(t, name)
	return a
}

// newAlong is about a file that has size bytes already.
func newAlong(f *os.File, size int64) *along {
	a := &along{file: f, mark: size, gaps: make(map[int64]int64), done: make(chan struct{})}
	a.changed.L = &a.mu
	return a
}

// leaveAlong ends the reading of a file that is closed.
func (in *incoming) leaveAlong() {
	if in.along != nil {
		in.along.stop()
		in.reads = false
	}
}

func (a *along) run(t *transfer, name string) {
	defer close(a.done)
	defer sftpFiles{t}.survive(&a.err)
	a.pkg, a.err = t.Store.ReadPackage(t.ctx, name, a)
}

// Read waits for the bytes that come next.
func (a *along) Read(b []byte) (int, error) {
	at, n, err := a.claim(len(b))
	if n == 0 || err != nil {
		return 0, err
	}
	return a.file.ReadAt(b[:n], at)
}

// claim waits until something can be read, at most n bytes of it.
func (a *along) claim(n int) (at int64, some int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.read == a.mark && !a.whole && !a.spoiled {
		a.changed.Wait()
	}
	switch at = a.read; {
	case a.spoiled:
		return 0, 0, errSpoiled
	case at == a.mark:
		return 0, 0, io.EOF
	}
	a.read = min(at+int64(n), a.mark)
	return at, int(a.read - at), nil
}

// wrote is told of n bytes that were written at off.
func (a *along) wrote(off int64, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.spoiled {
		return
	}
	end := off + int64(n)
	if off > a.mark {
		a.gaps[off] = max(a.gaps[off], end)
	} else {
		a.mark = max(a.mark, end)
	}
	a.spoiled = a.spoiled || off < a.read || len(a.gaps) > maxGaps
	for next := a.gaps[a.mark]; next > 0; next = a.gaps[a.mark] {
		delete(a.gaps, a.mark)
		a.mark = next
	}
	a.changed.Signal()
}

// finish returns what the file is that has grown to size bytes. errSpoiled says
// that it has to be read anew.
func (a *along) finish(size int64) (*alpm.Package, error) {
	a.mu.Lock()
	a.whole = true
	a.spoiled = a.spoiled || a.mark != size
	spoiled := a.spoiled
	a.mu.Unlock()
	a.changed.Signal()
	<-a.done
	if spoiled {
		return nil, errSpoiled
	}
	return a.pkg, a.err
}

// stop ends the reading, if it has not ended yet, and waits for that.
func (a *along) stop() {
	a.mu.Lock()
	a.spoiled = true
	a.mu.Unlock()
	a.changed.Signal()
	<-a.done
}

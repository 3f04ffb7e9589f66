package receive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// roomEvery is how many bytes are written between two looks at the free space.
const roomEvery = 32 << 20

// incoming is one file that a client is sending. WriteAt may be called from
// several goroutines, in any order of offsets, and even beside Close, which waits
// for those that have begun and refuses the others.
type incoming struct {
	*transfer
	file  string
	f     *os.File
	limit int64  // bytes; 0 is no limit
	along *along // nil where it is read once it is whole

	writing sync.RWMutex // held for reading by each write
	closed  bool         // guarded by writing: no write comes any more

	mu      sync.Mutex // guards what follows
	err     error      // the first that happened
	gone    bool       // the client went away before it closed the file
	written int64      // since room was looked for
}

func (in *incoming) WriteAt(b []byte, off int64) (int, error) {
	in.writing.RLock()
	defer in.writing.RUnlock()
	if in.closed {
		return 0, fs.ErrClosed
	}
	if err := in.mayWrite(len(b), off); err != nil {
		return 0, in.broke(err)
	}
	n, err := in.f.WriteAt(b, off)
	if in.along != nil {
		in.along.wrote(off, n)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = refuse(repo.ErrTooLarge, "no space left")
	}
	return n, in.broke(err)
}

func (in *incoming) mayWrite(n int, off int64) error {
	end := off + int64(n)
	if off < 0 || end < off || in.limit > 0 && end > in.limit {
		return refuse(repo.ErrTooLarge, "more than the %s that a file may have", formatBytes(in.limit))
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		return in.err
	}
	in.written += int64(n)
	if in.written < roomEvery {
		return nil
	}
	in.written = 0
	return in.Store.Room(in.f)
}

// broke keeps the first error: the client may close the file all the same.
func (in *incoming) broke(err error) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
	}
	return err
}

// TransferError is told before Close when the session ended with the file
// open.
func (in *incoming) TransferError(err error) {
	in.broke(err)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.gone = true
}

// Close checks the file and takes it, or says why not. It stays, to be
// resumed, where it ends too early.
func (in *incoming) Close() error {
	in.writing.Lock()
	in.closed = true
	in.writing.Unlock()
	defer in.f.Close()
	defer in.leaveAlong()
	in.open--
	in.mu.Lock()
	err, gone := in.err, in.gone
	in.mu.Unlock()
	if gone {
		in.fail(in.file, refuse(repo.ErrContent, "cut off; sftp's reput goes on with it"))
		return in.leave()
	}
	if err == nil {
		err = in.take()
	}
	if err == nil {
		return nil
	}
	in.fail(in.file, err)
	if cutOff(err) {
		in.leave()
	} else {
		os.Remove(in.f.Name()) // if it cannot be, it is swept later
	}
	return err
}

func (in *incoming) take() error {
	size, err := in.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if pkg, ok := strings.CutSuffix(in.file, ".sig"); ok {
		err = in.keepSignature(pkg)
	} else {
		err = in.keepPackage(size)
	}
	if err == nil {
		in.taken[in.file] = size
	}
	return err
}

func (in *incoming) keepSignature(pkg string) error {
	if _, err := in.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := in.upload.addSignature(pkg, in.f); err != nil {
		return err
	}
	return os.Remove(in.f.Name())
}

func (in *incoming) keepPackage(size int64) error {
	pkg, err := in.readPackage(size)
	if err != nil {
		return err
	}
	if err := in.upload.tx.TakeFile(pkg, in.f, in.upload.mayAdd); err != nil {
		return err
	}
	for _, warning := range pkg.Warnings {
		in.say("warning: %s: %s", in.file, warning)
	}
	return nil
}

// readPackage reads what was not read along.
func (in *incoming) readPackage(size int64) (*alpm.Package, error) {
	if in.along != nil {
		if pkg, err := in.along.finish(size); !errors.Is(err, errSpoiled) {
			return pkg, err
		}
	}
	if _, err := in.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return in.Store.ReadPackage(in.ctx, in.file, in.f)
}

// leave leaves what came to be resumed, less a byte: sftp does not resume a
// file that seems to be there whole, and this one has not been closed.
func (in *incoming) leave() error {
	size, err := in.f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	return in.f.Truncate(size - 1)
}

package repo

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// TakeFile is Add for a package that was received into a file of its own, on
// the file system of the state, and is written to no more. It reads f whole,
// asks allow and then the rules about what it found, and moves the file into
// the transaction under the name file. After an error the transaction and the
// file are as before the call. A fault of the content is returned as the
// *alpm.Fault it is.
func (t *Tx) TakeFile(ctx context.Context, file string, f *os.File, allow func(*alpm.Package) error) (*alpm.Package, error) {
	name, err := alpm.ParseFileName(file)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.req.Packages, func(p *alpm.Package) bool { return p.Info.Name == name.Name }) {
		return nil, refuse(ErrContent, "%s is in this transaction already", name.Name)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	p, err := alpm.ReadPackage(&reading{ctx, f}, file, t.store.opt.Limits)
	if err != nil {
		return nil, err
	}
	if err := allow(p); err != nil {
		return nil, err
	}
	if err := t.admissible(p); err != nil {
		return nil, err
	}
	if err := durable.Sync(f); err != nil {
		return nil, err
	}
	if err := durable.Rename(f.Name(), filepath.Join(t.dir, file)); err != nil {
		return nil, err
	}
	t.req.Packages = append(t.req.Packages, p)
	return p, nil
}

// admissible asks the rules about p alone, against what is published now, so
// that a sender learns early. Submit asks about all packages together.
func (t *Tx) admissible(p *alpm.Package) error {
	alone := t.req
	alone.Packages = []*alpm.Package{p}
	_, err := t.store.publishedDraft().decide(&alone)
	return err
}

// reading is a file being read for as long as somebody waits for it.
type reading struct {
	ctx context.Context
	f   *os.File
}

func (r *reading) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.f.Read(b)
}

// Room returns ErrTooLarge where less than MinFree is left on the file system
// of f, and hints that what was written to f may go to the disk by now.
func (s *Store) Room(f *os.File) error {
	// What the hint cannot do, the fsync at the end does.
	unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	return s.reserve(f, 0)
}

package repo

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// ReadPackage reads the package called file from r, for as long as somebody
// waits for it. A fault of the content is returned as the *alpm.Fault it is.
func (s *Store) ReadPackage(ctx context.Context, file string, r io.Reader) (*alpm.Package, error) {
	return alpm.ReadPackage(bound{ctx, r}, file, s.opt.Limits)
}

// TakeFile is Add for a package that was received into a file of its own, on
// the file system of the state, and is written to no more: p is what was read of
// the bytes that are in f now. It asks allow and then the rules about p, and moves
// the file into the transaction. After an error the transaction and the file are
// as before the call.
func (t *Tx) TakeFile(p *alpm.Package, f *os.File, allow func(*alpm.Package) error) error {
	if slices.ContainsFunc(t.req.Packages, func(q *alpm.Package) bool { return q.Info.Name == p.Info.Name }) {
		return refuse(ErrContent, "%s is in this transaction already", p.Info.Name)
	}
	if err := allow(p); err != nil {
		return err
	}
	if err := t.admissible(p); err != nil {
		return err
	}
	if err := durable.Sync(f); err != nil {
		return err
	}
	to := filepath.Join(t.dir, p.File.String())
	if err := durable.Rename(f.Name(), to); err != nil {
		return err
	}
	if err := sameFile(f, to); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	t.req.Packages = append(t.req.Packages, p)
	return nil
}

// admissible asks the rules about p alone, against what is published now, so
// that a sender learns early. Submit asks about all packages together.
func (t *Tx) admissible(p *alpm.Package) error {
	alone := t.req
	alone.Packages = []*alpm.Package{p}
	_, err := t.store.publishedDraft().decide(&alone)
	return err
}

// Room returns ErrTooLarge where less than MinFree is left on the file system
// of f, and hints that what was written to f may go to the disk by now.
func (s *Store) Room(f *os.File) error {
	// What the hint cannot do, the fsync at the end does.
	unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	return s.reserve(f, 0)
}

// sameFile makes sure that what is called name is f: the digest that was handed
// over is of its bytes, and nobody else has it open.
func sameFile(f *os.File, name string) error {
	read, err := f.Stat()
	if err != nil {
		return err
	}
	moved, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !os.SameFile(read, moved) {
		return refuse(ErrBusy, "another session is sending this file")
	}
	return nil
}

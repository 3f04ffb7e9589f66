// Package durable makes changes to files survive a power cut. It is the one
// place that knows in which order the system calls must stand:
//
//  1. write the new bytes under a name nobody reads;
//  2. fsync that file, so that its bytes are on disk before its name is;
//  3. rename it to the name that counts, which replaces atomically;
//  4. fsync the directory, so that the new name is on disk too.
//
// Its remaining hole is the file system's own: a disk that acknowledges a
// flush it did not do. A failed fsync is final for that file: the kernel may
// have dropped the pages, so callers write anew and never fsync again.
//
// It owns no file and knows no format.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// tempPrefix marks files that a crash may leave behind; see IsTemp.
const tempPrefix = ".aside-"

// IsTemp reports whether name is a file this package wrote aside and never
// renamed: leftovers of a crash, safe to remove.
func IsTemp(name string) bool {
	return len(name) > len(tempPrefix) && name[:len(tempPrefix)] == tempPrefix
}

// WriteFile replaces path by data with permissions perm, atomically and
// durably. On error path holds what it held before.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	err = errors.Join(f.Chmod(perm), writeAll(f, data), Sync(f), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return Rename(f.Name(), path)
}

// CreateFile writes data to a new file path and fsyncs it, but not its
// directory: for filling a directory that becomes visible by one Rename. It
// fails when path exists.
func CreateFile(path string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if err := errors.Join(writeAll(f, data), Sync(f), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeAll(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// Sync makes the bytes of f durable, not its name.
func Sync(f *os.File) error { return do(OpSync, f.Name(), f.Sync) }

// Move renames oldpath to newpath. Of names and bytes only one may be lost in a
// power cut, so the bytes are synced before; that the move itself is durable
// takes SyncDir, which a caller that moves many files calls once.
func Move(oldpath, newpath string) error {
	return do(OpRename, newpath, func() error { return os.Rename(oldpath, newpath) })
}

// Rename moves oldpath to newpath and makes the move durable in both
// directories.
func Rename(oldpath, newpath string) error {
	if err := Move(oldpath, newpath); err != nil {
		return err
	}
	from, to := filepath.Dir(oldpath), filepath.Dir(newpath)
	if err := SyncDir(to); err != nil || from == to {
		return err
	}
	return SyncDir(from)
}

// Symlink makes link point at target, replacing what was there, atomically
// and durably.
func Symlink(target, link string) error {
	aside := filepath.Join(filepath.Dir(link), tempPrefix+filepath.Base(link))
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := do(OpSymlink, aside, func() error { return os.Symlink(target, aside) }); err != nil {
		return err
	}
	return Rename(aside, link)
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(do(OpSyncDir, dir, d.Sync), d.Close())
}

// MkdirAll makes dir and its missing parents, durably. Permissions follow
// perm and the umask; a set-group-ID bit is inherited from the parent.
func MkdirAll(dir string, perm fs.FileMode) error {
	if st, err := os.Stat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if err := MkdirAll(filepath.Dir(dir), perm); err != nil {
		return err
	}
	if err := os.Mkdir(dir, perm.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

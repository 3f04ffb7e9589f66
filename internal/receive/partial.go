package receive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/durable"
	"serene/internal/repo"
)

const (
	// partialKeep is how long an upload that broke off can be resumed.
	partialKeep = 24 * time.Hour

	// maxPartials bounds the files one key may have unfinished in a repository.
	maxPartials = 32
)

// partials are the files a key has sent in part, by scp or sftp. They lie
// outside all that is published and outside every transaction, and only the
// key that sent them ever hears of them.
type partials struct{ root, key string }

func (c *call) partials() partials {
	id := sha256.Sum256([]byte(c.by.Key))
	return partials{c.PartialDir, hex.EncodeToString(id[:16])}
}

// dir is where files for a repository are. Both repo and the names below it
// were parsed, never spelled by a client.
func (p partials) dir(repo string) string { return filepath.Join(p.root, p.key, repo) }

func (p partials) path(repo, file string) string { return filepath.Join(p.dir(repo), file) }

// open opens a file to go on with, or to begin anew. It stays locked until it
// is closed.
func (p partials) open(target, file string, resume bool) (*os.File, error) {
	dir := p.dir(target)
	if err := durable.MkdirAll(dir, 0o770); err != nil {
		return nil, err
	}
	if _, err := os.Stat(p.path(target, file)); errors.Is(err, fs.ErrNotExist) {
		if len(p.list(target)) >= maxPartials {
			return nil, refuse(repo.ErrTooLarge, "%d unfinished uploads already: finish or remove them", maxPartials)
		}
	}
	f, err := os.OpenFile(p.path(target, file), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o660)
	if err != nil {
		return nil, err
	}
	if err := own(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if resume {
		return f, nil
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// own locks f, and makes sure that it still is the file of its name: a session
// that was done with it has moved it to where packages must not change.
func own(f *os.File) error {
	busy := refuse(repo.ErrBusy, "another session is sending this file")
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return busy
	}
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(f.Name())
	if err != nil || !os.SameFile(opened, named) {
		return busy
	}
	return nil
}

// stat returns the file of a repository that was sent in part.
func (p partials) stat(repo, file string) (fs.FileInfo, error) {
	return os.Lstat(p.path(repo, file))
}

// list lists the files of a repository that were sent in part.
func (p partials) list(repo string) (found []fs.FileInfo) {
	entries, err := os.ReadDir(p.dir(repo))
	if err != nil {
		return nil // none were sent
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			found = append(found, info)
		}
	}
	return found
}

// remove removes a file that no session has open: what one is sending must stay
// the file of its name.
func (p partials) remove(repo, file string) error {
	f, err := os.OpenFile(p.path(repo, file), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := own(f); err != nil {
		return err
	}
	return os.Remove(f.Name())
}

// sweep removes what any key left unfinished too long ago.
func (p partials) sweep(now time.Time) error {
	return filepath.WalkDir(p.root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another session sweeps as well
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < partialKeep {
			return nil
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep unfinished uploads: %w", err)
		}
		return nil
	})
}

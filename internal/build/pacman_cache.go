package build

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
)

// PacmanCache keeps the packages that pacman has downloaded from the
// distribution's mirrors, and offers them to the containers of later runs, which
// cannot write there.
//
// Nothing here is trusted: pacman holds each file against the signature, or where
// SigLevel asks for none the digest, that the mirror's database has now. A file
// that fails can only cost a download. Even so, what is kept is taken out of a
// container before anything of a package has run in it.
type PacmanCache struct {
	dir     string
	max     int64 // bytes of all files
	minFree int64 // bytes that stay free on the file system

	trimming sync.Mutex // one at a time, or two would remove twice as much
}

const (
	aside        = ".aside-" // begins the names of files being written
	usedFile     = ".used"   // names of the packages of a transaction, by pacman.sh
	maxNames     = 1 << 20   // bytes of such a list
	maxSignature = 64 << 10  // bytes of a detached signature
)

// OpenPacmanCache makes the directory, if it is missing, and removes what a
// crash has left half-written. Of all files together max bytes are kept, and
// none that would leave less than minFree on the file system.
func OpenPacmanCache(dir string, max, minFree int64) (*PacmanCache, error) {
	// The root of a container may be nobody here.
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), aside) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	c := &PacmanCache{dir: dir, max: max, minFree: minFree}
	return c, errors.Join(err, c.trim(max))
}

// keep takes in a tar of the directory that pacman has downloaded to. Packages
// that own reports, by file name, are those of the local repository and left out.
func (c *PacmanCache) keep(ctx context.Context, r io.Reader, own func(file string) bool) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return c.trim(c.max)
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		name := path.Base(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
		case name == usedFile:
			c.use(readNames(t))
		case isPackage(name) && c.fits(name, h.Size) && !own(strings.TrimSuffix(name, ".sig")):
			err = c.take(name, t)
		}
		if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
}

// isPackage tells packages and their signatures from all else.
func isPackage(name string) bool {
	_, err := alpm.ParseFileName(strings.TrimSuffix(name, ".sig"))
	return err == nil
}

func (c *PacmanCache) fits(name string, size int64) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.dir, &fs); err != nil || int64(fs.Bavail)*fs.Bsize-size < c.minFree {
		return false
	}
	return size <= c.max && (size <= maxSignature || !strings.HasSuffix(name, ".sig"))
}

// take writes a file aside and gives it its name. It is not synced: what a crash
// has damaged, pacman finds out.
func (c *PacmanCache) take(name string, r io.Reader) error {
	f, err := os.CreateTemp(c.dir, aside+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(c.dir, name))
}

// use notes that packages were needed now.
func (c *PacmanCache) use(files []string) {
	now := time.Now()
	for _, file := range files {
		for _, name := range []string{file, file + ".sig"} {
			_ = os.Chtimes(filepath.Join(c.dir, name), now, now) // most are not there
		}
	}
}

// drop removes packages, with their signatures.
func (c *PacmanCache) drop(files []string) error {
	var failed []error
	for _, file := range files {
		for _, name := range []string{file, file + ".sig"} {
			if err := os.Remove(filepath.Join(c.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// empty gives back all the room there is: everything can be downloaded again.
func (c *PacmanCache) empty() error { return c.trim(0) }

// trim removes what was needed longest ago, while there are more than most bytes.
func (c *PacmanCache) trim(most int64) error {
	c.trimming.Lock()
	defer c.trimming.Unlock()
	all, total, err := c.list()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *cached) int { return a.used.Compare(b.used) })
	for ; total > most; all = all[1:] {
		if err := c.drop([]string{all[0].file}); err != nil {
			return err
		}
		total -= all[0].size
	}
	return nil
}

// cached is a package with its signature.
type cached struct {
	file string
	size int64
	used time.Time
}

func (c *PacmanCache) list() (all []*cached, total int64, err error) {
	entries, err := os.ReadDir(c.dir)
	byFile := make(map[string]*cached)
	for _, e := range entries {
		st, gone := e.Info()
		if gone != nil || !isPackage(e.Name()) {
			continue
		}
		file := strings.TrimSuffix(e.Name(), ".sig")
		k := byFile[file]
		if k == nil {
			k = &cached{file: file}
			byFile[file], all = k, append(all, k)
		}
		k.size += st.Size()
		total += st.Size()
		if st.ModTime().After(k.used) {
			k.used = st.ModTime()
		}
	}
	return all, total, err
}

// readNames reads the package files that a list names, one a line, by whatever
// path. What else it has counts for nothing.
func readNames(r io.Reader) (files []string) {
	for lines := bufio.NewScanner(io.LimitReader(r, maxNames)); lines.Scan(); {
		file := strings.TrimSuffix(path.Base(lines.Text()), ".sig")
		if isPackage(file) {
			files = append(files, file)
		}
	}
	return files
}

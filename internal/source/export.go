package source

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// An exporter writes foreign files below a directory and nowhere else.
type exporter struct {
	root  *os.Root
	lim   Limits
	dirs  map[string]bool // that it has made
	bytes int64
	files int
}

// newExporter makes dir, which must not exist, and writes there. The caller
// closes its root.
func newExporter(dir string, lim Limits) (*exporter, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &exporter{root: root, lim: lim, dirs: make(map[string]bool)}, nil
}

// file writes a regular file of exactly size bytes.
func (e *exporter) file(p string, executable bool, size int64, r io.Reader) error {
	if err := e.enter(p, size); err != nil {
		return err
	}
	perm := fs.FileMode(0o644)
	if executable {
		perm = 0o755
	}
	f, err := e.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return twice(p, err)
	}
	_, err = io.CopyN(f, r, size)
	return errors.Join(err, f.Chmod(perm), f.Close())
}

// link makes a symbolic link that leads to somewhere inside.
func (e *exporter) link(p, target string) error {
	if err := e.enter(p, int64(len(target))); err != nil {
		return err
	}
	if len(target) > e.lim.PathLen || leadsOut(p, target) {
		return errorf(ErrRefused, "%s is a link that leads out: %s", show(p), show(target))
	}
	return twice(p, e.root.Symlink(target, p))
}

// leadsOut reports whether a link at p might lead out of the directory. A ".."
// may only stand at the beginning of its target, where it is counted from a real
// directory, as nothing lies below a link; after that any name may be a link.
func leadsOut(p, target string) bool {
	up := 0
	parts := strings.Split(target, "/")
	for up < len(parts) && parts[up] == ".." {
		up++
	}
	rest := strings.Join(parts[up:], "/")
	return up > strings.Count(p, "/") || up == 0 && rest == "" ||
		strings.HasPrefix(rest, "/") || slices.Contains(parts[up:], "..") || !printable(target) || isGit(target)
}

// dir makes a directory. A second time is none too many.
func (e *exporter) dir(p string) error {
	if e.dirs[p] {
		return nil
	}
	if err := e.enter(p, 0); err != nil {
		return err
	}
	return e.mkdir(p)
}

// enter checks a path, charges it to the limits, and makes the directories above.
func (e *exporter) enter(p string, size int64) error {
	if err := checkPath(p, e.lim.PathLen); err != nil {
		return err
	}
	for i, c := range p {
		if c != '/' || e.dirs[p[:i]] {
			continue
		}
		if err := errors.Join(e.charge(p[:i], 0), e.mkdir(p[:i])); err != nil {
			return err
		}
	}
	return e.charge(p, size)
}

// mkdir never takes what is there for a directory: it might be a link to one.
func (e *exporter) mkdir(p string) error {
	if err := e.root.Mkdir(p, 0o755); err != nil {
		return twice(p, err)
	}
	e.dirs[p] = true
	return nil
}

func (e *exporter) charge(p string, size int64) error {
	e.files++
	e.bytes += size
	switch {
	case e.files > e.lim.Files:
		return errorf(ErrTooLarge, "more than %d files", e.lim.Files)
	case size > e.lim.File:
		return errorf(ErrTooLarge, "%s has %d bytes, the most is %d", show(p), size, e.lim.File)
	case e.bytes > e.lim.Tree:
		return errorf(ErrTooLarge, "the files have more than %d bytes", e.lim.Tree)
	}
	return nil
}

func twice(p string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return errorf(ErrRefused, "%s is there already, as something else", show(p))
	}
	return err
}

// checkPath takes relative paths that mean one place below where they start, to
// every reader: no "." or "..", no control characters, nothing of git's own.
func checkPath(p string, most int) error {
	switch {
	case len(p) > most:
		return errorf(ErrTooLarge, "path of %d bytes, the most is %d: %s", len(p), most, show(p))
	case !printable(p):
		return errorf(ErrRefused, "path has control characters or is not UTF-8: %s", show(p))
	case strings.HasPrefix(p, "-"):
		return errorf(ErrRefused, "path looks like an option: %s", show(p))
	case isGit(p):
		return errorf(ErrRefused, "path is git's own: %s", show(p))
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return errorf(ErrRefused, "path is not one inside the directory: %s", show(p))
		}
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

// isGit reports whether a component of a path is what git calls its own, on any
// file system.
func isGit(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.EqualFold(part, ".git") {
			return true
		}
	}
	return false
}

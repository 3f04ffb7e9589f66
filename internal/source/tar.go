package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ReadTar unpacks a tar of a PKGBUILD directory, as "tar c ." or "tar c DIR"
// make it, into dir, which it makes. Whatever is below a ".git" is left out. The
// tar must have its end-of-archive, so that one cut short is not taken for a
// smaller one; r is read up to there and on to its end.
func ReadTar(r io.Reader, dir string, lim Limits) (*Tree, error) {
	e, err := newExporter(dir, lim.withDefaults())
	if err != nil {
		return nil, err
	}
	defer e.root.Close()
	err = e.unpack(r)
	if err == nil {
		var t *Tree
		if t, err = readTree(findPKGBUILD(dir), ""); err == nil {
			return t, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

func (e *exporter) unpack(r io.Reader) error {
	end := &endWatcher{r: r}
	tr := tar.NewReader(end)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return end.finish()
		}
		if err != nil {
			return tarError(err, end)
		}
		if err := e.member(h, tr); err != nil {
			return err
		}
		end.zeros = 0
	}
}

// tarError tells a reader's own failure from a fault of the tar, and says more
// where the mistake is plain.
func tarError(err error, end *endWatcher) error {
	switch {
	case end.err != nil:
		return end.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errorf(ErrRefused, "the tar ends in the middle of a member")
	case bytes.HasPrefix(end.head, []byte{0x1f, 0x8b}), bytes.HasPrefix(end.head, []byte{0x28, 0xb5, 0x2f, 0xfd}), bytes.HasPrefix(end.head, []byte{0xfd, '7', 'z'}):
		return errorf(ErrRefused, "the tar is compressed; send it as it is")
	default:
		return errorf(ErrRefused, "not a tar: %v", err)
	}
}

func (e *exporter) member(h *tar.Header, r io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	switch {
	case h.Typeflag == tar.TypeXGlobalHeader: // git archive's note of the commit
		return nil
	case name == "" || name == ".", isGit(name):
		return e.charge(name, 0)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return cutShort(e.file(name, h.Mode&0o111 != 0, h.Size, r))
	case tar.TypeDir:
		return e.dir(name)
	case tar.TypeSymlink:
		return e.link(name, h.Linkname)
	case tar.TypeLink:
		return errorf(ErrRefused, "%s is a hard link; tar them with --hard-dereference", show(name))
	default:
		return errorf(ErrRefused, "%s is neither file, directory nor symbolic link", show(name))
	}
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errorf(ErrRefused, "the tar ends in the middle of a member")
	}
	return err
}

// findPKGBUILD returns dir, or the one directory in it where "tar c DIR" has put
// everything.
func findPKGBUILD(dir string) string {
	if _, err := os.Lstat(filepath.Join(dir, "PKGBUILD")); err == nil {
		return dir
	}
	found, err := fs.Glob(os.DirFS(dir), path.Join("*", "PKGBUILD"))
	if err != nil || len(found) != 1 {
		return dir
	}
	sub := filepath.Join(dir, path.Dir(found[0]))
	if st, err := os.Lstat(sub); err != nil || !st.IsDir() {
		return dir // a link; it leads somewhere else
	}
	return sub
}

// An endWatcher sees whether a tar ended with an end-of-archive, two blocks of
// zeros: archive/tar is as content with no more bytes.
type endWatcher struct {
	r     io.Reader
	head  []byte // the first bytes
	zeros int    // at the end of what was read since the last member
	err   error  // of r, other than its end
}

func (w *endWatcher) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if len(w.head) < 4 {
		w.head = append(w.head, b[:min(n, 4)]...)
	}
	if kept := len(bytes.TrimRight(b[:n], "\x00")); kept > 0 {
		w.zeros = n - kept
	} else {
		w.zeros += n
	}
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// finish reads what follows the end-of-archive: padding, and not much of it. Of
// a member's own padding there are less than 512 bytes.
func (w *endWatcher) finish() error {
	if w.zeros < 1024 {
		return errorf(ErrRefused, "the tar has no end-of-archive: it was cut short")
	}
	before := w.zeros
	n, err := io.Copy(io.Discard, io.LimitReader(w, 1<<20+1))
	switch {
	case err != nil:
		return err
	case n > 1<<20, int64(w.zeros-before) != n:
		return errorf(ErrRefused, "something follows the end of the tar")
	}
	return nil
}

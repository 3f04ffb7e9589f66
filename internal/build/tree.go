package build

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Where things are in a container, as devtools has it: packages say in their
// .BUILDINFO where they were built, and rebuilders go by that.
const (
	startDir  = "/startdir"
	buildDir  = "/build"
	pkgDest   = "/pkgdest"
	srcDest   = "/srcdest"
	gnupgDir  = "/gnupg"
	ccache    = "/ccache"
	ours      = "/run/serene" // root's: repository, its key, and what pacman.sh makes
	repoDir   = ours + "/repo"
	cacheDir  = ours + "/cache"
	keyFile   = ours + "/key.asc"
	downloads = ours + "/downloads"
	damaged   = ours + "/damaged"
)

// owner is who builds, inside.
type owner struct{ uid, gid int }

// furnish writes, as a tar for the root of a container, the directories that a
// run needs and a copy of the PKGBUILD directory.
func furnish(w io.Writer, r *Recipe, who owner, network bool) error {
	t := newFurniture(w)
	t.who = who
	for _, dir := range []string{startDir, buildDir, pkgDest, srcDest} {
		t.dir(dir, 0o755, who)
	}
	t.dir(gnupgDir, 0o700, who)
	t.dir(ours, 0o755, owner{})
	if r.CompilerCache != "" {
		t.dir(ccache, 0o755, who)
	}
	if !network { // else it is the engine's
		t.file("/etc/hosts", []byte("127.0.0.1\tlocalhost\n::1\tlocalhost\n"))
	}
	if r.LocalRepo != "" {
		t.file(keyFile, r.RepoKey)
	}
	t.tree(r.Tree)
	return t.end()
}

// furniture is a tar writer that keeps its first error.
type furniture struct {
	*tar.Writer
	who owner // of the tree
	err error
}

func newFurniture(w io.Writer) *furniture { return &furniture{Writer: tar.NewWriter(w)} }

func (t *furniture) end() error {
	if t.err == nil {
		t.err = t.Close()
	}
	return t.err
}

func (t *furniture) add(h *tar.Header) {
	h.Name = h.Name[1:] // without the slash
	if t.err == nil {
		t.err = t.WriteHeader(h)
	}
}

func (t *furniture) dir(name string, mode int64, who owner) {
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: who.uid, Gid: who.gid})
}

func (t *furniture) file(name string, data []byte) {
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))})
	if t.err == nil {
		_, t.err = t.Write(data)
	}
}

// tree copies a directory of the host to startDir. A symbolic link is copied as
// one: where it leads is looked up inside the container, by the one who builds.
func (t *furniture) tree(dir string) {
	if t.err != nil {
		return
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.err = err
		return
	}
	defer root.Close()
	t.err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return t.member(root, path, d)
	})
}

func (t *furniture) member(root *os.Root, path string, d fs.DirEntry) error {
	name := startDir + "/" + path
	switch {
	case d.IsDir():
		t.dir(name, 0o755, t.who)
	case d.Type() == fs.ModeSymlink:
		link, err := root.Readlink(path)
		if err != nil {
			return err
		}
		t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: link, Mode: 0o777, Uid: t.who.uid, Gid: t.who.gid})
	case d.Type().IsRegular():
		return t.copy(root, path, name)
	default:
		return fmt.Errorf("%s is neither file, directory nor link", path)
	}
	return t.err
}

func (t *furniture) copy(root *os.Root, path, name string) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	t.add(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: int64(st.Mode().Perm()), Size: st.Size(),
		ModTime: st.ModTime(), Uid: t.who.uid, Gid: t.who.gid,
	})
	if t.err == nil {
		_, t.err = io.Copy(t, io.LimitReader(f, st.Size()))
	}
	return t.err
}

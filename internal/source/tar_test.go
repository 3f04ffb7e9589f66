package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"serene/internal/source/aurtest"
)

// tarOf writes members, and the end-of-archive.
func tarOf(t testing.TB, members ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o600
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var pkgbuildMember = tar.Header{Name: "PKGBUILD", Size: 10}

func readTar(t testing.TB, r io.Reader, lim Limits) (*Tree, string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	tree, err := ReadTar(r, dir, lim)
	return tree, dir, err
}

// The tars that people send: the directory's content, or the directory, with all
// that lies in it.
func TestReadTarFromRealTar(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "foo")
	p := aurtest.Simple("foo", "1-1")
	p.Files["keys/a.asc"], p.Files[".git/config"], p.Files["keys/.git/HEAD"] = "key\n", "[core]\n", "x\n"
	for name, text := range p.Files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("keys/a.asc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want := []string{"-rw-r--r-- .SRCINFO", "-rw-r--r-- PKGBUILD", "drwxr-xr-x keys", "-rw-r--r-- keys/a.asc", "-> keys/a.asc link"}
	for _, args := range [][]string{
		{"-C", dir, "-c", "."},
		{"-C", base, "-c", "foo"},
		{"-C", dir, "--format=pax", "-c", "PKGBUILD", ".SRCINFO", "keys", "link"},
		{"-C", dir, "--format=v7", "-c", "./PKGBUILD", "./.SRCINFO", "./keys", "./link"},
	} {
		out, err := exec.CommandContext(t.Context(), "tar", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		tree, _, err := readTar(t, iotest.OneByteReader(bytes.NewReader(out)), Limits{})
		if err != nil {
			t.Errorf("tar %q: %v", args, err)
			continue
		}
		if got := listing(t, tree.Dir); !slices.Equal(got, want) || tree.SrcInfo == nil {
			t.Errorf("tar %q: got %q", args, got)
		}
	}
}

func TestReadTarFromGitArchive(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	file := filepath.Join(t.TempDir(), "foo.tar")
	run(t, s, "foo", "", "archive", "--output="+file, "master")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if tree, _, err := readTar(t, f, Limits{}); err != nil || tree.SrcInfo == nil {
		t.Error(tree, err)
	}
}

// Cut anywhere, a tar is refused, and nothing of it stays.
func TestReadTarCutShort(t *testing.T) {
	whole := tarOf(t, pkgbuildMember, tar.Header{Name: "zeros", Size: 0}, tar.Header{Name: "last", Size: 600})
	for n := 0; n < len(whole); n += 37 { // in every part of every block, sooner or later
		_, dir, err := readTar(t, bytes.NewReader(whole[:n]), Limits{})
		if !errors.Is(err, ErrRefused) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Fatalf("cut after %d bytes: something is left", n)
		}
	}
}

func TestReadTarRefuses(t *testing.T) {
	good := tarOf(t, pkgbuildMember)
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(good)
	z.Close()
	link := func(name, target string) []byte {
		return tarOf(t, pkgbuildMember, tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target})
	}
	for name, c := range map[string]struct {
		data  []byte
		class error
	}{
		"empty":            {nil, ErrRefused},
		"no tar":           {bytes.Repeat([]byte("nonsense"), 1000), ErrRefused},
		"compressed":       {gz.Bytes(), ErrRefused},
		"no PKGBUILD":      {tarOf(t, tar.Header{Name: "foo"}), ErrNotFound},
		"two directories":  {tarOf(t, tar.Header{Name: "a/PKGBUILD"}, tar.Header{Name: "b/PKGBUILD"}), ErrNotFound},
		"something after":  {append(slices.Clone(good), "more"...), ErrRefused},
		"another tar":      {append(slices.Clone(good), good...), ErrRefused},
		"absolute":         {tarOf(t, pkgbuildMember, tar.Header{Name: "/etc/x"}), ErrRefused},
		"dot dot":          {tarOf(t, pkgbuildMember, tar.Header{Name: "a/../../x"}), ErrRefused},
		"dot slash dotdot": {tarOf(t, pkgbuildMember, tar.Header{Name: "./../x"}), ErrRefused},
		"option":           {tarOf(t, pkgbuildMember, tar.Header{Name: "-x"}), ErrRefused},
		"control":          {tarOf(t, pkgbuildMember, tar.Header{Name: "a\nb"}), ErrRefused},
		"twice":            {tarOf(t, pkgbuildMember, pkgbuildMember), ErrRefused},
		"file as dir":      {tarOf(t, pkgbuildMember, tar.Header{Name: "PKGBUILD/x"}), ErrRefused},
		"device":           {tarOf(t, pkgbuildMember, tar.Header{Name: "x", Typeflag: tar.TypeBlock}), ErrRefused},
		"fifo":             {tarOf(t, pkgbuildMember, tar.Header{Name: "x", Typeflag: tar.TypeFifo}), ErrRefused},
		"hard link":        {tarOf(t, pkgbuildMember, tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "PKGBUILD"}), ErrRefused},
		"link out":         {link("x", "../x"), ErrRefused},
		"link absolute":    {link("x", "/etc/passwd"), ErrRefused},
		"below a link": {tarOf(t, pkgbuildMember, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755},
			tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"}, tar.Header{Name: "l/x"}), ErrRefused},
		"deep below a link": {tarOf(t, pkgbuildMember, tar.Header{Name: "a/b/l", Typeflag: tar.TypeSymlink, Linkname: "../.."},
			tar.Header{Name: "a/b/l/out", Typeflag: tar.TypeSymlink, Linkname: "../../.."}), ErrRefused},
		"directory over a link": {tarOf(t, pkgbuildMember, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "."},
			tar.Header{Name: "l", Typeflag: tar.TypeDir, Mode: 0o755}), ErrRefused},
		"link for a PKGBUILD": {tarOf(t, tar.Header{Name: "real", Size: 3}, tar.Header{Name: "PKGBUILD", Typeflag: tar.TypeSymlink, Linkname: "real"}), ErrRefused},
		"file too large":      {tarOf(t, pkgbuildMember, tar.Header{Name: "x", Size: 5000}), ErrTooLarge},
		"tree too large":      {tarOf(t, pkgbuildMember, tar.Header{Name: "x", Size: 4000}, tar.Header{Name: "y", Size: 4000}, tar.Header{Name: "z", Size: 4000}), ErrTooLarge},
		"too many":            {tarOf(t, slices.Repeat([]tar.Header{{Name: ".git/x"}}, 50)...), ErrTooLarge},
		"too deep":            {tarOf(t, pkgbuildMember, tar.Header{Name: strings.Repeat("d/", 60) + "x"}), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir, err := readTar(t, bytes.NewReader(c.data), Limits{File: 4096, Tree: 10_000, Files: 40})
			wantClass(t, err, c.class)
			if _, err := os.Lstat(dir); err == nil {
				t.Error("something is left")
			}
		})
	}
}

// A reader that fails is not the sender's mistake.
func TestReadTarKeepsErrorsApart(t *testing.T) {
	broken := errors.New("connection reset")
	data := tarOf(t, pkgbuildMember, tar.Header{Name: "x", Size: 2000})
	for _, n := range []int{0, 100, 600, 1500, len(data) - 600} {
		_, _, err := readTar(t, io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)), Limits{})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// Whatever a tar holds, it ends as a tree that lies inside its directory.
func FuzzReadTar(f *testing.F) {
	f.Add(tarOf(f, pkgbuildMember))
	f.Add(tarOf(f, pkgbuildMember, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../PKGBUILD"}))
	f.Add(tarOf(f, tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "d/PKGBUILD", Size: 3}))
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		dir := filepath.Join(base, "tree")
		_, err := ReadTar(bytes.NewReader(data), dir, Limits{File: 1 << 16, Tree: 1 << 17, Files: 50})
		if entries, _ := os.ReadDir(base); err != nil && len(entries) != 0 || err == nil && len(entries) != 1 {
			t.Fatalf("%v leaves %v", err, entries)
		}
		if err != nil {
			return
		}
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
			real, err := filepath.EvalSymlinks(path)
			if err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Errorf("%s leads to %s", path, real)
			}
			return nil
		})
	})
}

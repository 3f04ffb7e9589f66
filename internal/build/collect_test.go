package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"serene/internal/alpm/alpmtest"
)

// A left is a tar member that a build has left in its PKGDEST.
type left struct {
	*tar.Header
	data []byte
}

func file(name string, data []byte) left {
	return left{&tar.Header{Typeflag: tar.TypeReg, Name: "pkgdest/" + name, Mode: 0o600, Size: int64(len(data))}, data}
}

func special(kind byte, name, link string) left {
	return left{&tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o777}, nil}
}

func made(name, version string, opts ...alpmtest.Option) left {
	data, filename := alpmtest.Package(name, version, opts...)
	return file(filename, data)
}

func archive(t *testing.T, members []left) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range append([]left{special(tar.TypeDir, "pkgdest/", "")}, members...) {
		if err := w.WriteHeader(m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func collectFrom(t *testing.T, r *Recipe, data []byte) (*collector, error) {
	t.Helper()
	r.Out = t.TempDir()
	out, err := os.OpenRoot(r.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := &collector{recipe: r, out: out}
	return c, c.all(t.Context(), tar.NewReader(bytes.NewReader(data)))
}

func TestCollect(t *testing.T) {
	foo := made("foo", "1-1")
	doc := made("foo-doc", "1-1", alpmtest.Base("foo"), alpmtest.Arch("any"))
	noMTree := made("foo-doc", "1-1", alpmtest.Base("foo"), alpmtest.Without(".MTREE"))
	for _, c := range []struct {
		name    string
		members []left
		fault   string // "" for none
	}{
		{"both", []left{doc, foo}, ""},
		{"with debug", []left{foo, doc, made("foo-debug", "1-1", alpmtest.Base("foo"))}, ""},
		{"one is missing", []left{foo}, "no package foo-doc"},
		{"nothing", nil, "no package foo"},
		{"one twice", []left{foo, doc, foo}, "both foo-1-1"},
		{"two architectures", []left{foo, made("foo", "1-1", alpmtest.Arch("any"))}, "both foo-1-1"},
		{"two versions", []left{foo, made("foo-doc", "2-1", alpmtest.Base("foo"))}, "not of one version"},
		{"one more", []left{foo, doc, made("bash", "1-1", alpmtest.Base("foo"))}, "none of this PKGBUILD's"},
		{"another's debug package", []left{foo, doc, made("bash-debug", "1-1", alpmtest.Base("foo"))}, "none of this PKGBUILD's"},
		{"another base", []left{foo, made("foo-doc", "1-1", alpmtest.Base("bash"))}, `package base "bash"`},
		{"another architecture", []left{foo, made("foo-doc", "1-1", alpmtest.Base("foo"), alpmtest.Arch("aarch64"))}, "not for x86_64"},
		{"renamed", []left{foo, file("foo-doc-1-1-x86_64.pkg.tar.zst", foo.data)}, "foo-doc-1-1-x86_64.pkg.tar.zst"},
		{"no .MTREE", []left{foo, noMTree}, "MTREE"},
		{"cut short", []left{foo, file("foo-doc-1-1-any.pkg.tar.zst", doc.data[:len(doc.data)/2])}, "foo-doc-1-1-any"},
		{"empty", []left{foo, file("foo-doc-1-1-any.pkg.tar.zst", nil)}, "foo-doc-1-1-any"},
		{"signature", []left{foo, doc, file("foo-1-1-x86_64.pkg.tar.zst.sig", []byte("x"))}, "not the name of a package"},
		{"symbolic link", []left{special(tar.TypeSymlink, "pkgdest/foo-1-1-x86_64.pkg.tar.zst", "/etc/shadow")}, "not a regular file"},
		{"hard link", []left{foo, special(tar.TypeLink, "pkgdest/foo-doc-1-1-any.pkg.tar.zst", "pkgdest/foo-1-1-x86_64.pkg.tar.zst")}, "not a regular file"},
		{"device", []left{special(tar.TypeBlock, "pkgdest/foo-1-1-x86_64.pkg.tar.zst", "")}, "not a regular file"},
		{"directory", []left{special(tar.TypeDir, "pkgdest/foo-1-1-x86_64.pkg.tar.zst/", "")}, "not a regular file"},
		{"deeper", []left{foo, doc, {&tar.Header{Typeflag: tar.TypeReg, Name: "pkgdest/a/b"}, nil}}, "not at the top"},
		{"outside", []left{foo, doc, {&tar.Header{Typeflag: tar.TypeReg, Name: "pkgdest/../../etc/passwd"}, nil}}, "not at the top"},
		{"absolute", []left{foo, doc, {&tar.Header{Typeflag: tar.TypeReg, Name: "/etc/passwd"}, nil}}, "not at the top"},
		{"too large", []left{foo, made("foo-doc", "1-1", alpmtest.Base("foo"), alpmtest.Payload(2<<20))}, "more than 1 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Recipe{Base: "foo", Arch: "x86_64", Packages: []string{"foo", "foo-doc"}, Limits: Limits{Package: 1 << 20}}
			got, err := collectFrom(t, r, archive(t, c.members))
			if c.fault == "" {
				if err != nil || len(got.packages) != len(c.members) {
					t.Errorf("%v, %v", got.packages, err)
				}
				return
			}
			var f *Failure
			if !errors.As(err, &f) || f.Cause != CausePackage || !strings.Contains(f.Text, c.fault) {
				t.Errorf("error = %v, want %s", err, c.fault)
			}
		})
	}
}

// What was collected is byte for byte what the build has left.
func TestCollectedBytes(t *testing.T) {
	foo := made("foo", "1-1", alpmtest.Payload(300<<10))
	r := &Recipe{Base: "foo", Arch: "x86_64", Packages: []string{"foo"}}
	if _, err := collectFrom(t, r, archive(t, []left{foo})); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(r.Out, "foo-1-1-x86_64.pkg.tar.zst"))
	if err != nil || !bytes.Equal(got, foo.data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// An engine that breaks off is the host's trouble, wherever it does.
func TestCollectBreaksOff(t *testing.T) {
	foo := made("foo", "1-1")
	whole := archive(t, []left{foo})
	for n := 1; n < 2*512+len(foo.data); n += 97 { // two headers and the data
		r := &Recipe{Base: "foo", Arch: "x86_64", Packages: []string{"foo"}}
		if _, err := collectFrom(t, r, whole[:n]); CauseOf(err) != CauseHost {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// furnished lists what furnish writes for a recipe, where there is no network.
func furnished(r *Recipe) (names []string, err error) {
	var b bytes.Buffer
	if err := furnish(&b, r, owner{1000, 100}, false); err != nil {
		return nil, err
	}
	for t := tar.NewReader(&b); ; {
		h, err := t.Next()
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		kind := map[byte]string{tar.TypeReg: "", tar.TypeDir: "", tar.TypeSymlink: " -> "}[h.Typeflag]
		names = append(names, h.Name+kind+h.Linkname)
	}
}

func TestFurnish(t *testing.T) {
	tree := t.TempDir()
	err := errors.Join(
		os.WriteFile(filepath.Join(tree, "PKGBUILD"), []byte("x"), 0o600),
		os.Mkdir(filepath.Join(tree, "keys"), 0o700),
		os.WriteFile(filepath.Join(tree, "keys", "-rf ~"), nil, 0o600),
		os.Symlink("/etc/passwd", filepath.Join(tree, "link")),
		os.Symlink("..", filepath.Join(tree, "up")),
	)
	if err != nil {
		t.Fatal(err)
	}
	names, err := furnished(&Recipe{Tree: tree, LocalRepo: "/somewhere", CompilerCache: "cache"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"startdir/", "build/", "pkgdest/", "srcdest/", "gnupg/", "run/serene/", "ccache/", "etc/hosts", "run/serene/key.asc",
		"startdir/PKGBUILD", "startdir/keys/", "startdir/keys/-rf ~", "startdir/link -> /etc/passwd", "startdir/up -> ..",
	}
	if !slices.Equal(names, want) {
		t.Errorf("names %q\nwant  %q", names, want)
	}
}

func TestFurnishRefusesSpecialFiles(t *testing.T) {
	tree := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(tree, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := furnished(&Recipe{Tree: tree}); err == nil {
		t.Error("a fifo was copied")
	}
	if _, err := furnished(&Recipe{Tree: filepath.Join(tree, "nowhere")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v", err)
	}
}

func TestBuilder(t *testing.T) {
	for _, c := range []struct {
		passwd string
		want   owner
		ok     bool
	}{
		{"root:x:0:0::/root:/bin/sh\nbuild:x:1000:100::/home/build:/bin/bash\n", owner{1000, 100}, true},
		{"build:x:1:2:::", owner{1, 2}, true},
		{"builder:x:1:2:::\n", owner{}, false},
		{"build:x:0:0:::\n", owner{}, false},
		{"build:x:many:0:::\n", owner{}, false},
		{"build\n", owner{}, false},
		{"", owner{}, false},
	} {
		if got, err := builder(c.passwd); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %v, %v", c.passwd, got, err)
		}
	}
}

func TestRecipeCheck(t *testing.T) {
	good := Recipe{Job: "20260101-x.1", Base: "foo", Packages: []string{"foo", "foo-doc"}, Network: NetworkFetch, LocalRepo: "/x", RepoName: "own"}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Recipe){
		"job":        func(r *Recipe) { r.Job = "../x" },
		"empty job":  func(r *Recipe) { r.Job = "" },
		"base":       func(r *Recipe) { r.Base = "a b" },
		"package":    func(r *Recipe) { r.Packages = []string{"../foo"} },
		"repository": func(r *Recipe) { r.RepoName = "own]\nServer = x" },
		"network":    func(r *Recipe) { r.Network = "host" },
	} {
		r := good
		change(&r)
		if err := r.check(); err == nil || CauseOf(err) != CauseHost {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, dep := range []string{"--root=/", "-", "", "a b", "a\nb", "a>", ">=1", "a>=1;reboot"} {
		r := good
		r.Depends = []string{dep}
		if err := r.faults(); CauseOf(err) != CauseDependency {
			t.Errorf("dependency %q: %v", dep, err)
		}
	}
	for _, key := range []string{"--export", "", "0xABCDEF", "GG00000000000000"} {
		r := good
		r.ValidPGPKeys = []string{key}
		if err := r.faults(); CauseOf(err) != CausePGP {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

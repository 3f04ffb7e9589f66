package alpm_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
	"serene/internal/dev/makepkg"
)

// oddPKGBUILD makes a split package whose members have about everything that a
// package may have.
const oddPKGBUILD = `
pkgbase=odd
pkgname=(odd odd-lib odd-meta)
pkgver=1.0+r3
pkgrel=1.1
epoch=2
pkgdesc="An  odd	package  for ünïcode"
url="https://example.org/?a=b"
arch=(x86_64)
license=('GPL' 'custom: with  two spaces')
groups=(odd-group other-group)
depends=('glibc>=2.3' 'libfoo.so=1-64')
optdepends=('foo: for  bar' 'baz' 'qux>=1:2: why')
makedepends=(make)
checkdepends=(check)
provides=('oddity=1')
conflicts=('even<2')
replaces=('even')
options=(!strip !debug)
package_odd() {
	install=odd.install
	changelog=odd.changelog
	backup=(etc/odd.conf)
	mkdir -p "$pkgdir"/usr/share/odd/empty "$pkgdir"/etc "$pkgdir"/usr/bin "$pkgdir"/usr/share/odd/foo.d "$pkgdir"/usr/share/odd/foo
	echo conf > "$pkgdir"/etc/odd.conf
	cd "$pkgdir"/usr/share/odd
	for n in 'with space' 'two  spaces' 'trailing ' 'ünïcode' '日本語' 'back\slash' '\040' 'eq=ual' '#hash' '%FILES%' '"quotes"' "it's" '.hidden' '..dots' foo0 'a*b?[c]' '~' '-dash'; do
		echo "content of $n" > "./$n"
	done
	ln -s nowhere dangling
	ln -s ../odd dirlink
	ln -s 'to ünïcode and \ back' oddlink
	echo shared > original
	ln original second
	ln original third
	echo root > setuid
	chmod 4755 setuid
	mkdir sticky
	chmod 1777 sticky
	head -c 300000 /dev/zero > zeros
	touch "$(printf 'n%.0s' {1..250})"
	mkdir -p "$(printf 'd%.0s' {1..120})/$(printf 'e%.0s' {1..120})/$(printf 'f%.0s' {1..120})"
	touch "$(printf 'd%.0s' {1..120})/$(printf 'e%.0s' {1..120})/f"
	ln -s "$(printf 't%.0s' {1..150})" longlink
}
package_odd-lib() {
	pkgdesc="The library"
	mkdir -p "$pkgdir"/usr/lib
	echo lib > "$pkgdir"/usr/lib/libodd.so
}
package_odd-meta() {
	pkgdesc=""
	url=""
	arch=(any)
}
`

// build builds oddPKGBUILD with the real makepkg and returns the paths of the
// packages.
func build(t *testing.T) []string {
	t.Helper()
	dir := place(t, map[string]string{"PKGBUILD": oddPKGBUILD, "odd.install": "post_install() { :; }\n", "odd.changelog": "1: born\n"})
	paths, err := makepkg.Build(t.Context(), dir, t.TempDir(), "PACKAGER=Søme One <some.one@example.org>", "SOURCE_DATE_EPOCH=1704164645")
	if err != nil || len(paths) != 3 {
		t.Fatalf("makepkg made %q, %v", paths, err)
	}
	return paths
}

// repoAdd adds a package to a new database with the real repo-add and returns
// its desc, less what serene does not write, and its files.
func repoAdd(t *testing.T, pkg, dir string) (desc, files string) {
	t.Helper()
	tmp := t.TempDir()
	run(t, tmp, "", "env", "LC_ALL=C.UTF-8", "repo-add", "-q", "r.db.tar.gz", pkg)
	desc = run(t, tmp, "", "bsdtar", "-xOf", "r.db.tar.gz", dir+"/desc")
	files = run(t, tmp, "", "bsdtar", "-xOf", "r.files.tar.gz", dir+"/files")
	if before, after, ok := strings.Cut(desc, "%MD5SUM%\n"); ok {
		_, after, _ = strings.Cut(after, "\n\n")
		desc = before + after
	}
	return desc, files
}

func readFile(t *testing.T, path string) *alpm.Package {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := alpm.ReadPackage(f, filepath.Base(path), alpm.DefaultLimits())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

// compareRepoAdd holds the entry of a package to repo-add's.
func compareRepoAdd(t *testing.T, path string) {
	t.Helper()
	p := readFile(t, path)
	wantSound(t, p)
	e := p.Entry()
	desc, files := repoAdd(t, path, e.Dir())
	if got := string(e.AppendDesc(nil)); got != desc {
		t.Errorf("%s: desc is\n%s\nrepo-add has\n%s", p.File, got, desc)
	}
	if got := string(alpm.AppendFiles(nil, p.Files)); got != files {
		t.Errorf("%s: files is\n%s\nrepo-add has\n%s", p.File, got, files)
	}
}

// TestMakepkgAndRepoAdd reads what the real makepkg builds, and writes the same
// entries as the real repo-add.
func TestMakepkgAndRepoAdd(t *testing.T) {
	paths := build(t)
	for _, path := range paths {
		compareRepoAdd(t, path)
	}
	for _, ext := range []string{".tar", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2"} {
		tmp := t.TempDir()
		run(t, tmp, "", append([]string{"env", "LC_ALL=C.UTF-8", "repo-add", "-q", "r.db" + ext}, paths...)...)
		for _, kind := range []string{"db", "files"} {
			readRepoAdds(t, filepath.Join(tmp, "r."+kind+ext), len(paths), kind == "files")
		}
	}
}

// readRepoAdds reads a database that repo-add wrote.
func readRepoAdds(t *testing.T, path string, packages int, files bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readDatabase(bytes.NewReader(b))
	if err != nil || len(got) != packages {
		t.Errorf("%s: %d packages, %v", path, len(got), err)
	}
	for _, m := range got {
		if (m.Files != nil) != files {
			t.Errorf("%s: files of %s: %q", path, m.Entry.Name, m.Files)
		}
	}
}

// TestRepoAddTakesAlpmtest keeps the builder of test packages honest.
func TestRepoAddTakesAlpmtest(t *testing.T) {
	for _, opts := range [][]alpmtest.Option{
		{alpmtest.Payload(1 << 20), alpmtest.Info("depend", "glibc"), alpmtest.With(alpmtest.File("usr/ü", ""), alpmtest.HardLink("usr/ü2", "usr/ü"))},
		{alpmtest.V1(), alpmtest.Empty(), alpmtest.Desc(""), alpmtest.Ext(".pkg.tar.xz")},
		{alpmtest.Base("base"), alpmtest.Arch("any"), alpmtest.Ext(".pkg.tar.gz")},
	} {
		data, name := alpmtest.Package("foo", "1:2.0-1", opts...)
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		compareRepoAdd(t, path)
		run(t, "", "", "env", "LC_ALL=C", "pacman", "-Qip", path)
	}
}

// TestBsdtarListsDatabase has libarchive, which is what pacman reads with, list
// a database of ours.
func TestBsdtarListsDatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "r.files"), database(t, 2), 0o666); err != nil {
		t.Fatal(err)
	}
	got := run(t, dir, "", "env", "LC_ALL=C", "TZ=UTC", "bsdtar", "-tvf", "r.files")
	want := fmt.Sprintf(`drwxr-xr-x  0 root   root        0 Jan  2  2024 package00000-1:2.0-1/
-rw-r--r--  0 root   root      %[1]d Jan  2  2024 package00000-1:2.0-1/desc
-rw-r--r--  0 root   root       34 Jan  2  2024 package00000-1:2.0-1/files
drwxr-xr-x  0 root   root        0 Jan  2  2024 package00001-1:2.0-1/
-rw-r--r--  0 root   root      %[1]d Jan  2  2024 package00001-1:2.0-1/desc
-rw-r--r--  0 root   root       34 Jan  2  2024 package00001-1:2.0-1/files
`, len(entry("package00000").AppendDesc(nil)))
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestCompressors reads what the real compressors write, in the ways they can be
// told to write it.
func TestCompressors(t *testing.T) {
	plain, name := alpmtest.Package("foo", "1-1", alpmtest.Ext(".pkg.tar"), alpmtest.Payload(300_000))
	for _, c := range []struct {
		ext  string
		argv []string
	}{
		{".zst", []string{"zstd", "-c", "-19", "-"}},
		{".zst", []string{"zstd", "-c", "-T2", "--no-check", "-"}},
		{".zst", []string{"zstd", "-c", "--ultra", "-20", "-"}},
		{".zst", []string{"zstd", "-c", "--long=27", "-1", "-"}},
		{".xz", []string{"xz", "-c", "-"}},
		{".xz", []string{"xz", "-c", "-0", "-T2", "--block-size=100000", "-"}},
		{".xz", []string{"xz", "-c", "-1", "--block-size=65536", "-"}},
		{".xz", []string{"xz", "-c", "-9", "--check=sha256", "-"}},
		{".xz", []string{"xz", "-c", "-0", "--check=crc32", "-"}},
		{".xz", []string{"xz", "-c", "-0", "--check=none", "-"}},
		{".gz", []string{"gzip", "-c", "-9", "-"}},
		{".bz2", []string{"bzip2", "-c", "-"}},
	} {
		half := len(plain) / 2
		one := run(t, "", string(plain), c.argv...)
		wantExact(t, name+c.ext, one)
		wantExact(t, name+c.ext, run(t, "", string(plain[:half]), c.argv...)+run(t, "", string(plain[half:]), c.argv...))
		if c.ext == ".xz" {
			readString(t, name+c.ext, one+"\x00\x00\x00\x00") // stream padding
		}
	}
	_, err := alpm.ReadPackage(strings.NewReader(run(t, "", string(plain), "zstd", "-c", "--ultra", "--long=28", "-1", "-")), name+".zst", alpm.DefaultLimits())
	wantFault(t, err, alpm.KindCompressionWindow)
	_, err = alpm.ReadPackage(strings.NewReader(run(t, "", string(plain), "xz", "-c", "--x86", "--lzma2=preset=0", "-")), name+".xz", alpm.DefaultLimits())
	wantFault(t, err, alpm.KindCompressionCorrupt)
}

func readString(t *testing.T, name, file string) {
	t.Helper()
	p, err := alpm.ReadPackage(strings.NewReader(file), name, alpm.DefaultLimits())
	if err != nil || p.Size != int64(len(file)) {
		t.Errorf("%s: %v", name, err)
	}
}

// wantExact checks that this file is a package, and that nothing longer or
// shorter is.
func wantExact(t *testing.T, name, file string) {
	t.Helper()
	readString(t, name, file)
	for _, more := range []string{"x", "garbage"} {
		_, err := alpm.ReadPackage(strings.NewReader(file+more), name, alpm.DefaultLimits())
		wantFault(t, err, alpm.KindCompressionEnd)
	}
	for _, less := range []int{1, 4, 9, 100} {
		if _, err := alpm.ReadPackage(strings.NewReader(file[:len(file)-less]), name, alpm.DefaultLimits()); err == nil {
			t.Errorf("%s: taken without its last %d bytes", name, less)
		}
	}
}

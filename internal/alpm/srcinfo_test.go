package alpm_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"serene/internal/alpm"
	"serene/internal/dev/makepkg"
)

var updateSrcInfo = flag.Bool("update-srcinfo", false, "rewrite testdata/srcinfo")

// Each archive holds a PKGBUILD, what the real makepkg prints of it, and what
// the parser makes of that.
func TestParseSrcInfo(t *testing.T) {
	files, _ := filepath.Glob("testdata/srcinfo/*.txtar")
	if len(files) == 0 {
		t.Fatal("no archives")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			printed := printSrcInfo(t, pkgbuild(archive))
			info, err := alpm.ParseSrcInfo([]byte(printed))
			if err != nil {
				t.Fatalf("%v\n%s", err, printed)
			}
			golden(t, archive, ".SRCINFO", printed)
			golden(t, archive, "want", dump(info))
			if *updateSrcInfo {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// golden compares what an archive has under name with got, or replaces it.
func golden(t *testing.T, archive *txtar.Archive, name, got string) {
	t.Helper()
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
	switch {
	case *updateSrcInfo && i < 0:
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got)})
	case *updateSrcInfo:
		archive.Files[i].Data = []byte(got)
	case i < 0:
		t.Errorf("no %s in the archive; run with -update-srcinfo", name)
	case string(archive.Files[i].Data) != got:
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, archive.Files[i].Data)
	}
}

// file returns what an archive has under name.
func file(archive *txtar.Archive, name string) string {
	for _, f := range archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func pkgbuild(archive *txtar.Archive) map[string]string {
	m := map[string]string{"PKGBUILD": file(archive, "PKGBUILD") + file(archive, "package")}
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".install") {
			m[f.Name] = string(f.Data)
		}
	}
	return m
}

// place writes files where makepkg may read them, which nobody does for root.
func place(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func printSrcInfo(t *testing.T, files map[string]string) string {
	t.Helper()
	// t.TempDir is below a directory that only its owner may enter.
	dir, err := os.MkdirTemp("", "srcinfo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(dir, os.DirFS(place(t, files))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "makepkg", "--printsrcinfo")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C.UTF-8", "BUILDDIR=" + dir, "PKGDEST=" + dir, "SRCDEST=" + dir}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("makepkg --printsrcinfo: %v\n%s", err, out)
	}
	return string(out)
}

// dump writes what holds on x86_64, a fact a line.
func dump(s *alpm.SrcInfo) string {
	var b strings.Builder
	line := func(key string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, strings.Join(values, " | "))
		}
	}
	line("base", s.Base, string(s.FullVersion()))
	line("source", s.Sources.For("x86_64")...)
	for _, algorithm := range slices.Sorted(maps.Keys(s.Sums)) {
		line(algorithm+"sums", s.Sums[algorithm].For("x86_64")...)
	}
	line("builddepends", s.BuildDepends("x86_64")...)
	line("builddepends aarch64", s.BuildDepends("aarch64")...)
	line("noextract", s.NoExtract...)
	line("validpgpkeys", s.ValidPGPKeys...)
	for _, p := range s.Packages {
		line("\npackage", p.Name, p.ArchFor("x86_64"), p.Desc, p.URL)
		line("install", p.Install)
		line("groups", p.Groups...)
		line("license", p.Licenses...)
		line("options", p.Options...)
		line("backup", p.Backup...)
		line("depends", p.Depends.For("x86_64")...)
		line("optdepends", p.OptDepends.For("x86_64")...)
		line("provides", p.Provides.For("x86_64")...)
		line("conflicts", p.Conflicts.For("x86_64")...)
	}
	return b.String()
}

// The packages that makepkg builds must be the ones that .SRCINFO promises:
// otherwise an override has been understood wrongly.
func TestSrcInfoTellsWhatIsBuilt(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/srcinfo/split.txtar")
	if err != nil {
		t.Fatal(err)
	}
	info, err := alpm.ParseSrcInfo([]byte(file(archive, ".SRCINFO")))
	if err != nil {
		t.Fatal(err)
	}
	built, err := makepkg.Build(t.Context(), place(t, pkgbuild(archive)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(built) != len(info.Packages) {
		t.Fatalf("%d packages built, %d promised", len(built), len(info.Packages))
	}
	for _, path := range built {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := alpm.ReadPackage(f, filepath.Base(path), alpm.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		comparePromise(t, info, &got.Info)
	}
}

func comparePromise(t *testing.T, info *alpm.SrcInfo, got *alpm.PkgInfo) {
	t.Helper()
	want := info.Package(got.Name)
	if want == nil {
		t.Fatalf("%s was not promised", got.Name)
	}
	for _, c := range []struct {
		key       string
		got, want any
	}{
		{"base", got.Base, info.Base},
		{"version", got.Version, info.FullVersion()},
		{"desc", got.Desc, want.Desc},
		{"url", got.URL, want.URL},
		{"arch", got.Arch, want.ArchFor("x86_64")},
		{"depends", sorted(got.Depends), sorted(want.Depends.For("x86_64"))},
		{"optdepends", sorted(got.OptDepends), sorted(want.OptDepends.For("x86_64"))},
		{"provides", sorted(got.Provides), sorted(want.Provides.For("x86_64"))},
		{"conflicts", sorted(got.Conflicts), sorted(want.Conflicts.For("x86_64"))},
		{"groups", sorted(got.Groups), sorted(want.Groups)},
		{"license", sorted(got.Licenses), sorted(want.Licenses)},
		{"backup", sorted(got.Backup), sorted(want.Backup)},
		{"makedepends", sorted(got.MakeDepends), sorted(info.MakeDepends.For("x86_64"))},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %s is %q, .SRCINFO says %q", got.Name, c.key, c.got, c.want)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

const leastSrcInfo = "pkgbase = foo\n\tpkgver = 1\n\tpkgrel = 1\n\tarch = x86_64\n\npkgname = foo\n"

// with adds a line to the base's section of the least .SRCINFO there is.
func with(line string) string {
	return strings.Replace(leastSrcInfo, "\n\n", "\n\t"+line+"\n\n", 1)
}

func TestParseSrcInfoTakes(t *testing.T) {
	for _, text := range []string{
		leastSrcInfo,
		"# Generated by makepkg\n" + leastSrcInfo,
		with("depends ="), // an editor stripped the space
		with("epoch = 0"),
		with("url = example.org"),
		with("source = local://installer.bin"),
		with("source = foo::svn+ssh://user@example.org/x#revision=2"),
		with("source = bzr+lp:project"),
		with("source = git://example.org/x.git"),
		with("source = sub/dir/fix.patch"),
		with("depends = lib:libbar.so.1"), // pacman 7
		with("cksums = 1234567890"),
		leastSrcInfo + "\tcheckdepends = ignored\n",
		strings.TrimSuffix(leastSrcInfo, "\n"),
	} {
		if _, err := alpm.ParseSrcInfo([]byte(text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

func TestParseSrcInfoRefuses(t *testing.T) {
	for _, c := range []struct{ kind, text string }{
		{alpm.KindMissingKey, ""},
		{alpm.KindMissingKey, "pkgbase = foo\n"},
		{alpm.KindMissingKey, strings.Replace(leastSrcInfo, "\tarch = x86_64\n", "", 1)},
		{alpm.KindMissingKey, strings.Replace(leastSrcInfo, "\tpkgver = 1\n", "", 1)},
		{alpm.KindMissingKey, leastSrcInfo + "\tarch = \n"},
		{alpm.KindSyntax, "pkgname = foo\n" + leastSrcInfo},
		{alpm.KindSyntax, with("depends_x86_64 = foo\n\tdepends = bar")},
		{alpm.KindSyntax, with("nonsense")},
		{alpm.KindSyntax, with("url=https://example.org")},
		{alpm.KindSyntax, with("url =https://example.org")},
		{alpm.KindUnknownKey, "\tpkgver = 1\n" + leastSrcInfo},
		{alpm.KindUnknownKey, with("prepare = rm")},
		{alpm.KindUnknownKey, with("url_x86_64 = https://example.org")},
		{alpm.KindUnknownKey, with("depends_any = foo")},
		{alpm.KindUnknownKey, with("depends_a/b = foo")},
		{alpm.KindUnknownKey, leastSrcInfo + "\tsource = https://example.org/x\n"},
		{alpm.KindUnknownKey, leastSrcInfo + "\tpkgver = 2\n"},
		{alpm.KindDuplicateKey, leastSrcInfo + "pkgname = foo\n"},
		{alpm.KindDuplicateKey, leastSrcInfo + "pkgbase = bar\n"},
		{alpm.KindDuplicateKey, with("pkgver = 2")},
		{alpm.KindValue, strings.ReplaceAll(leastSrcInfo, "foo", "../foo")},
		{alpm.KindValue, strings.ReplaceAll(leastSrcInfo, "foo", "-foo")},
		{alpm.KindValue, strings.Replace(leastSrcInfo, "pkgver = 1", "pkgver = 5:1", 1)},
		{alpm.KindValue, strings.Replace(leastSrcInfo, "pkgver = 1", "pkgver = $(id)", 1)},
		{alpm.KindValue, strings.Replace(leastSrcInfo, "pkgrel = 1", "pkgrel = 1-1", 1)},
		{alpm.KindValue, with("epoch = -1")},
		{alpm.KindValue, with("depends_mips = foo")},
		{alpm.KindValue, with("depends = foo bar")},
		{alpm.KindValue, with("depends = --root=/")},
		{alpm.KindValue, with("provides = foo>1")},
		{alpm.KindValue, with("pkgdesc = \x1b[2J")},
		{alpm.KindValue, with("pkgdesc = one\rtwo")},
		{alpm.KindValue, with("pkgdesc = \xff")},
		{alpm.KindValue, with("url = javascript:alert(1)")},
		{alpm.KindValue, with("install = ../../etc/passwd")},
		{alpm.KindValue, with("install = /etc/passwd")},
		{alpm.KindValue, with("backup = ../x")},
		{alpm.KindValue, with("options = $(id)")},
		{alpm.KindValue, with("validpgpkeys = 00411886")},
		{alpm.KindValue, with("validpgpkeys = --keyserver-options")},
		{alpm.KindValue, with("sha256sums = 00")},
		{alpm.KindValue, with("source = ../../etc/passwd")},
		{alpm.KindValue, with("source = /etc/passwd")},
		{alpm.KindValue, with("source = file:///etc/passwd")},
		{alpm.KindValue, with("source = git+file:///srv/git")},
		{alpm.KindValue, with("source = x::git+ext::sh -c id://")},
		{alpm.KindValue, with("source = ext::sh -c id")},
		{alpm.KindValue, with("source = git+ext::sh -c id")},
		{alpm.KindValue, with("source = x::ext::sh -c id")},
		{alpm.KindValue, with("source = ext://sh")},
		{alpm.KindValue, with("source = git+ssh://-oProxyCommand=id/x")},
		{alpm.KindValue, with("source = git+ssh://git@-oProxyCommand=id/x")},
		{alpm.KindValue, with("source = https:///x")},
		{alpm.KindValue, with("source = x::")},
		{alpm.KindValue, with("source = ::x")},
		{alpm.KindValue, with("source = https://example.org/..")},
		{alpm.KindValue, with("source = https://example.org/-o")},
		{alpm.KindValue, with("source = ../x::https://example.org/y")},
		{alpm.KindValue, with("source = --upload-pack=id::git+https://example.org/y")},
		{alpm.KindValue, with("source = git+https+ext://example.org/y")},
		{"", strings.Repeat("#\n", 10_001)},
		{"", strings.Repeat(" ", 1<<20+1)},
		{"", leastSrcInfo + manyLines("pkgname = p%d\n", 1001)},
		{"", with(manyLines("depends_a%d = x\n", 40))},
		{alpm.KindSyntax, with("pkgdesc = " + strings.Repeat("x", 65<<10))},
	} {
		_, err := alpm.ParseSrcInfo([]byte(c.text))
		fault, ok := errors.AsType[*alpm.Fault](err)
		if !ok || fault.Kind != alpm.KindSrcInfo+c.kind {
			t.Errorf("%.200q: got %v, want a fault of kind srcinfo%s", c.text, err, c.kind)
		}
	}
}

func manyLines(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// What the parser lets through is safe to use, and survives JSON.
func FuzzSrcInfo(f *testing.F) {
	files, _ := filepath.Glob("testdata/srcinfo/*.txtar")
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(file(archive, ".SRCINFO")))
	}
	f.Add([]byte(with("source = x::git+https://example.org/y#tag=1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := alpm.ParseSrcInfo(b)
		if err != nil {
			if _, ok := errors.AsType[*alpm.Fault](err); !ok {
				t.Fatalf("not a fault: %v", err)
			}
			return
		}
		checkSafe(t, info)
	})
}

func checkSafe(t *testing.T, info *alpm.SrcInfo) {
	t.Helper()
	if err := errors.Join(alpm.ValidName(info.Base), info.FullVersion().Check()); err != nil {
		t.Fatal(err)
	}
	for _, p := range info.Packages {
		if err := alpm.ValidName(p.Name); err != nil || p.ArchFor(p.Arches[0]) == "" {
			t.Fatal(p.Name, err)
		}
		for _, d := range slices.Concat(info.BuildDepends(p.Arches[0]), p.Depends.For(p.Arches[0])) {
			dep, err := alpm.ParseDep(d)
			if err != nil || dep.String() != d {
				t.Fatalf("%q: %v, %v", d, dep, err)
			}
		}
	}
	b, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	var again alpm.SrcInfo
	if err := json.Unmarshal(b, &again); err != nil || dump(&again) != dump(info) {
		t.Fatalf("changed by JSON: %v", err)
	}
}

package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/source/aurtest"
)

// wantClass fails unless err is of class and one printable line.
func wantClass(t *testing.T, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want one that is %q", err, class)
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Fatalf("not one printable line: %q", err)
	}
}

// listing returns the files below dir, as "MODE PATH" or "-> TARGET PATH".
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if target, err := os.Readlink(path); err == nil {
			all = append(all, "-> "+target+" "+name)
			return nil
		}
		all = append(all, st.Mode().String()+" "+name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRefCheckTakes(t *testing.T) {
	for _, ref := range []Ref{
		{Kind: KindAUR, URL: "https://aur.archlinux.org/c++utilities.git", Base: "c++utilities"},
		{Kind: KindGit, URL: "https://example.org/a/b.git", Branch: "release/1.0", Path: "packages/foo"},
		{Kind: KindGit, URL: "https://example.org/a", Branch: "+main"}, // never stands first in a refspec
		{Kind: KindGit, URL: "https://example.org:8443/a", Commit: strings.Repeat("0a", 20)},
		{Kind: KindGit, URL: "ssh://git@example.org/~user/a.git"},
		{Kind: KindGit, URL: "http://127.0.0.1:8080/a.git"},
		{Kind: KindGit, URL: "http://[::1]:8080/a.git"},
		{Kind: KindGit, URL: "http://localhost/a.git"},
	} {
		if err := ref.Check(Allow{}); err != nil {
			t.Errorf("%+v: %v", ref, err)
		}
	}
	listed := Allow{HTTP: []string{"git.lan:3000"}, File: true}
	for _, url := range []string{"http://git.lan:3000/a.git", "file:///srv/git/a.git"} {
		if err := (Ref{Kind: KindGit, URL: url}).Check(listed); err != nil {
			t.Error(err)
		}
		wantClass(t, Ref{Kind: KindGit, URL: url}.Check(Allow{}), ErrRefused)
	}
}

func TestRefCheckRefuses(t *testing.T) {
	const good = "https://example.org/a.git"
	for _, ref := range []Ref{
		{},
		{Kind: KindTar, URL: good},
		{Kind: KindAUR, URL: good}, // of no base
		{Kind: KindAUR, URL: good, Base: "../x"},
		{Kind: KindGit, URL: ""},
		{Kind: KindGit, URL: "--upload-pack=touch /tmp/x"},
		{Kind: KindGit, URL: "-oProxyCommand=id"},
		{Kind: KindGit, URL: "ext::sh -c id"},
		{Kind: KindGit, URL: "ext::https://example.org/a"},
		{Kind: KindGit, URL: "ext://example.org/a"},
		{Kind: KindGit, URL: "fd::17/foo"},
		{Kind: KindGit, URL: "git://example.org/a.git"},
		{Kind: KindGit, URL: "ftp://example.org/a.git"},
		{Kind: KindGit, URL: "/srv/git/a.git"},
		{Kind: KindGit, URL: "../a.git"},
		{Kind: KindGit, URL: "file:///srv/git/a.git"},
		{Kind: KindGit, URL: "file://example.org/a.git"},
		{Kind: KindGit, URL: "git@example.org:a.git"},
		{Kind: KindGit, URL: "http://example.org/a.git"},
		{Kind: KindGit, URL: "http://127.0.0.1.example.org/a.git"},
		{Kind: KindGit, URL: "http://127.0.0.1@example.org/a.git"},
		{Kind: KindGit, URL: "https://user:secret@example.org/a.git"},
		{Kind: KindGit, URL: "https://token@example.org/a.git"},
		{Kind: KindGit, URL: "ssh://-oProxyCommand=id/a.git"},
		{Kind: KindGit, URL: "ssh://-l@example.org/a.git"},
		{Kind: KindGit, URL: "ssh://git@-x/a.git"},
		{Kind: KindGit, URL: "ssh://%2dx/a.git"},
		{Kind: KindGit, URL: "ssh://$(id)/a.git"},
		{Kind: KindGit, URL: "https://example.org"},
		{Kind: KindGit, URL: "https:///a.git"},
		{Kind: KindGit, URL: "https:example.org/a.git"},
		{Kind: KindGit, URL: good + "?x=1"},
		{Kind: KindGit, URL: good + "#x"},
		{Kind: KindGit, URL: good + " --upload-pack=id"},
		{Kind: KindGit, URL: good + "\n"},
		{Kind: KindGit, URL: good + "\x00"},
		{Kind: KindGit, URL: "https://example.org/" + strings.Repeat("a", 3000)},
		{Kind: KindGit, URL: good, Branch: "-x"},
		{Kind: KindGit, URL: good, Branch: "--upload-pack=id"},
		{Kind: KindGit, URL: good, Branch: "main:refs/heads/other"},
		{Kind: KindGit, URL: good, Branch: "^main"},
		{Kind: KindGit, URL: good, Branch: "refs/*"},
		{Kind: KindGit, URL: good, Branch: "a..b"},
		{Kind: KindGit, URL: good, Branch: "a@{1}"},
		{Kind: KindGit, URL: good, Branch: "@"},
		{Kind: KindGit, URL: good, Branch: "a//b"},
		{Kind: KindGit, URL: good, Branch: "/a"},
		{Kind: KindGit, URL: good, Branch: "a/"},
		{Kind: KindGit, URL: good, Branch: "a.lock"},
		{Kind: KindGit, URL: good, Branch: ".a"},
		{Kind: KindGit, URL: good, Branch: "a b"},
		{Kind: KindGit, URL: good, Commit: "HEAD"},
		{Kind: KindGit, URL: good, Commit: "abc123"},
		{Kind: KindGit, URL: good, Commit: strings.Repeat("A", 40)},
		{Kind: KindGit, URL: good, Path: "../x"},
		{Kind: KindGit, URL: good, Path: "/x"},
		{Kind: KindGit, URL: good, Path: "a/../../x"},
		{Kind: KindGit, URL: good, Path: "-x"},
		{Kind: KindGit, URL: good, Path: ".git/x"},
		{Kind: KindGit, URL: good, Path: "a\nb"},
		{Kind: KindGit, URL: good, Path: strings.Repeat("x/", 2000) + "x"},
	} {
		err := ref.Check(Allow{})
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", ref, err)
		}
	}
}

func TestLeadsOut(t *testing.T) {
	for _, c := range []struct {
		path, target string
		out          bool
	}{
		{"a", "b", false},
		{"a", "./b", false},
		{"a", "b/c/", false},
		{"d/a", "../b", false},
		{"d/a", "..", false},
		{"a", ".", false},
		{"a", "", true},
		{"a", "..", true},
		{"a", "../b", true},
		{"d/a", "../../b", true},
		{"a", "/etc/passwd", true},
		{"d/a", "..//etc", true},
		{"d/a", "../b/../../x", true},
		{"a", "b/../c", true}, // b may be a link
		{"a", "b\x00c", true},
		{"a", ".git/config", true},
	} {
		if got := leadsOut(c.path, c.target); got != c.out {
			t.Errorf("%s -> %s: %v", c.path, c.target, got)
		}
	}
}

func TestStale(t *testing.T) {
	info := srcInfo(t, aurtest.Simple("foo", "1:2-3"))
	for pkgbuild, want := range map[string]bool{
		"pkgname=foo\npkgver=2\npkgrel=3\nepoch=1\n": false,
		"pkgver='2' # why\npkgrel=\"3\"\n":           false,
		"pkgver=4\n":                                 true,
		"pkgrel=4\n":                                 true,
		"epoch=2\n":                                  true,
		"pkgbase=bar\n":                              true,
		"pkgver=$_ver\n":                             false,
		"pkgver=${_ver}.1\n":                         false,
		"pkgver=4\npkgver=2\n":                       false,
		"if x; then\n\tpkgver=4\nfi\n":               false,
		"pkgver=`id`\n":                              false,
		"":                                           false,
	} {
		if got := stale(info, []byte(pkgbuild)); (got != "") != want {
			t.Errorf("%q: %q", pkgbuild, got)
		}
	}
}

func srcInfo(t *testing.T, p aurtest.Package) *alpm.SrcInfo {
	t.Helper()
	info, err := alpm.ParseSrcInfo([]byte(p.Files[".SRCINFO"]))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestNeeds(t *testing.T) {
	info, err := alpm.ParseSrcInfo([]byte(`pkgbase = suite
	pkgver = 3
	pkgrel = 1
	arch = x86_64
	makedepends = cmake
	makedepends = suite-bootstrap
	checkdepends = tester>=2
	depends = zlib
	depends_x86_64 = lib32-zlib
	depends_x86_64 = zlib

pkgname = suite-libs
	provides = libsuite=3

pkgname = suite
	depends = suite-libs=3
	depends = libsuite>=3
	depends = libsuite>=4
	depends = plugin

pkgname = suite-bootstrap
`))
	if err != nil {
		t.Fatal(err)
	}
	got := Needs(info, "x86_64", func(dep string) bool { return dep == "cmake" })
	want := []string{"lib32-zlib", "libsuite>=4", "plugin", "suite-bootstrap", "tester>=2", "zlib"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

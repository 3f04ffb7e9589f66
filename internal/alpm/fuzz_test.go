package alpm_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// FuzzPackage changes archives, with header checksums repaired, and files as
// they are. Whatever is accepted must make an entry and a file list that every
// reader reads back, and no byte more or less of it may be accepted.
func FuzzPackage(f *testing.F) {
	for _, opts := range [][]alpmtest.Option{
		{},
		{alpmtest.V1(), alpmtest.Empty()},
		{alpmtest.With(alpmtest.File("usr/b", "b"), alpmtest.HardLink("usr/c", "usr/b"), alpmtest.Symlink("usr/d", "b"))},
		{alpmtest.With(alpmtest.File(strings.Repeat("x/", 120)+"y", ""))},
	} {
		for _, ext := range []string{".pkg.tar", ".pkg.tar.zst", ".pkg.tar.gz", ".pkg.tar.xz"} {
			data, _ := alpmtest.Package("foo", "1:2.0-1", append(opts, alpmtest.Ext(ext))...)
			f.Add(data, ext)
		}
	}
	lim := alpm.DefaultLimits()
	lim.Size, lim.Unpacked, lim.MTree, lim.Meta = 1<<20, 8<<20, 1<<20, 1<<20
	f.Fuzz(func(t *testing.T, data []byte, ext string) {
		if ext == ".pkg.tar" {
			data = fixChecksums(data)
		}
		name := "foo-1:2.0-1-x86_64" + ext
		p, err := alpm.ReadPackage(bytes.NewReader(data), name, lim)
		if err != nil {
			wantAnyFault(t, err)
			return
		}
		wantSound(t, p)
		if _, err := alpm.ReadPackage(bytes.NewReader(append(bytes.Clone(data), 'x')), name, lim); err == nil {
			t.Fatal("accepted with one byte more")
		}
	})
}

// wantSound checks what everyone may rely on in an accepted package.
func wantSound(t *testing.T, p *alpm.Package) {
	t.Helper()
	wantJSONRoundTrip(t, p)
	e := p.Entry()
	if err := e.Check(); err != nil {
		t.Fatalf("entry: %v", err)
	}
	wantEntryRoundTrip(t, e)
	for _, file := range p.Files {
		if file[0] == '/' || file[0] == '.' || strings.Contains("/"+file, "/../") || strings.Contains("/"+file, "//") {
			t.Fatalf("accepted the path %q", file)
		}
	}
	if !slices.IsSorted(p.Files) || len(slices.Compact(slices.Clone(p.Files))) != len(p.Files) {
		t.Fatalf("files are not a sorted set: %q", p.Files)
	}
	back, err := alpm.ParseFiles(alpm.AppendFiles(nil, p.Files))
	if err != nil || !slices.Equal(back, p.Files) {
		t.Fatalf("files %q come back as %q, %v", p.Files, back, err)
	}
}

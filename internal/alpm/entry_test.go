package alpm_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm"
)

func TestAppendDesc(t *testing.T) {
	e := entry("foo")
	e.Groups, e.PGPSig = []string{"one", "two"}, "aGVsbG8="
	const want = `%FILENAME%
foo-1:2.0-1-any.pkg.tar.zst

%NAME%
foo

%BASE%
foo

%VERSION%
1:2.0-1

%DESC%
The package foo

%GROUPS%
one
two

%CSIZE%
1234

%ISIZE%
5678

%SHA256SUM%
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

%PGPSIG%
aGVsbG8=

%URL%
https://example.org

%LICENSE%
MIT

%ARCH%
any

%BUILDDATE%
1704164645

%PACKAGER%
Some One <some.one@example.org>

%DEPENDS%
glibc>=2.38
libfoo.so=1-64

%OPTDEPENDS%
bar: for barring

`
	if got := string(e.AppendDesc(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wantEntryRoundTrip(t, e)
	wantJSONRoundTrip(t, e)
}

func TestParseDescRefuses(t *testing.T) {
	good := string(entry("foo").AppendDesc(nil))
	for _, c := range []struct{ old, new, kind string }{
		{good, "", "desc-missing-key"},
		{"%NAME%\nfoo\n\n", "", "desc-missing-key"},
		{"%SHA256SUM%", "%MD5SUM%", "desc-missing-key"},
		{"%DESC%", "%EXTRA%", "desc-unknown-key"},
		{"%DESC%", "%DESC", "desc-syntax"},
		{"%DESC%", "DESC", "desc-syntax"},
		{"%DESC%", strings.Repeat("\x19", 1000), "desc-syntax"},
		{"%DESC%\n", "%DESC%\n\n", "desc-syntax"},
		{"%DESC%", "%DESC%\r", "desc-syntax"},
		{"%DESC%\nThe package foo\n\n", "%DESC%\na\n\n%DESC%\nb\n\n", "desc-duplicate-key"},
		{"%DESC%\nThe", "%DESC%\nOne\nThe", "desc-duplicate-key"},
		{"%DESC%\nThe", "%DESC%\nThe ", "desc-value"},
		{"%DESC%\nThe package foo", "%DESC%\n%NAME%", "desc-value"},
		{"%DESC%\nThe", "%DESC%\nThe\x00", "desc-value"},
		{"1234", "0x4d2", "desc-value"},
		{"%NAME%\nfoo", "%NAME%\nbar", "desc-value"},
		{"1:2.0-1-any.pkg.tar.zst", "1:2.0-1-any.zip", "file-name"},
		{"bar: for barring\n\n", "bar: for barring\n", "desc-syntax"},
		{"bar: for barring\n\n", "bar: for barring\n\n\n", "desc-syntax"},
	} {
		_, err := alpm.ParseDesc([]byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil {
			t.Errorf("%q taken", c.new)
			continue
		}
		wantFault(t, err, c.kind)
	}
}

func TestEntryCheck(t *testing.T) {
	for name, spoil := range map[string]func(*alpm.Entry){
		"empty":           func(e *alpm.Entry) { *e = alpm.Entry{} },
		"newline":         func(e *alpm.Entry) { e.Desc = "a\n\n%NAME%\nb" },
		"section":         func(e *alpm.Entry) { e.Licenses = []string{"%NAME%"} },
		"empty value":     func(e *alpm.Entry) { e.Groups = []string{""} },
		"spaces":          func(e *alpm.Entry) { e.Packager = "a  b" },
		"name":            func(e *alpm.Entry) { e.Name = "../foo" },
		"negative":        func(e *alpm.Entry) { e.CSize = -1 },
		"digest":          func(e *alpm.Entry) { e.SHA256 = "00" },
		"signature":       func(e *alpm.Entry) { e.PGPSig = "-----BEGIN" },
		"other file name": func(e *alpm.Entry) { e.FileName = "foo-1:2.0-2-any.pkg.tar.zst" },
	} {
		e := entry("foo")
		spoil(e)
		if err := e.Check(); err == nil {
			t.Errorf("%s: passes", name)
		} else {
			wantAnyFault(t, err)
		}
	}
}

func TestFilesRoundTrip(t *testing.T) {
	files := []string{`usr/`, `usr/lib/system\x2d.slice`, `usr/share/ü`, `usr/share/ü/a b`, "usr/tab\t", "usr/\xff", "usr/\x01", "usr/\u2028"}
	slices.Sort(files)
	b := alpm.AppendFiles(nil, files)
	for _, line := range []string{`usr/lib/system\\x2d.slice`, `usr/share/ü/a b`, `usr/tab\t`, `usr/\377`, `usr/\001`, `usr/\342\200\250`} {
		if !strings.Contains(string(b), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, b)
		}
	}
	got, err := alpm.ParseFiles(b)
	if err != nil || !reflect.DeepEqual(got, files) {
		t.Errorf("%q, %v", got, err)
	}
	if got := string(alpm.AppendFiles(nil, nil)); got != "%FILES%\n" {
		t.Errorf("empty list is %q", got)
	}
	if got := string(alpm.AppendFiles([]byte("x"), []string{"b", "a", "b"})); got != "x%FILES%\na\nb\n" {
		t.Errorf("unsorted list is %q", got)
	}
}

func TestParseFilesRefuses(t *testing.T) {
	for _, s := range []string{"", "usr/\n", "%FILES%", "%FILES%\n\n", "%FILES%\nusr", "%FILES%\na\n\nb\n", "%FILES%\na\\\n", "%FILES%\n\\400\n", "%FILES%\n\\18\n", "%FILES%\n%DEPENDS%\nx\n"} {
		_, err := alpm.ParseFiles([]byte(s))
		wantFault(t, err, alpm.KindFiles)
	}
}

// TestEscapeBsdtar compares with bsdtar's own display for one name of each
// character of ranges that have not changed in Unicode for long: a character
// younger than the C library is escaped by bsdtar and shown by us.
func TestEscapeBsdtar(t *testing.T) {
	names := []string{"a\xffz", "a\xc3z", "a\xed\xa0\x80z", `a\\z`, `a\nz`}
	for _, span := range [][2]rune{{1, 0x5ff}, {0x2000, 0x20af}, {0x3000, 0x303f}, {0x4e00, 0x4eff}, {0xe000, 0xe010}, {0xfff0, 0xffff}, {0x1f600, 0x1f64f}, {0x1fffe, 0x1ffff}} {
		for r := span[0]; r <= span[1]; r++ {
			if r != '/' {
				names = append(names, "a"+string(r)+"z")
			}
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "names.tar"), tarOf(t, names), 0o666); err != nil {
		t.Fatal(err)
	}
	want := strings.Split(run(t, dir, "", "env", "LC_ALL=C.UTF-8", "bsdtar", "-tf", "names.tar"), "\n")
	want = want[:len(want)-1]
	slices.Sort(want)
	got := strings.Split(strings.TrimSuffix(string(alpm.AppendFiles(nil, names)), "\n"), "\n")[1:]
	for _, line := range got {
		if _, ok := slices.BinarySearch(want, line); !ok {
			t.Errorf("bsdtar does not print %q", line)
		}
	}
	if len(got) != len(slices.Compact(want)) {
		t.Errorf("%d lines, bsdtar prints %d", len(got), len(want))
	}
}

// tarOf is an archive of empty files.
func tarOf(t *testing.T, names []string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzDesc(f *testing.F) {
	f.Add(entry("foo").AppendDesc(nil))
	f.Add(bytes.Replace(entry("foo").AppendDesc(nil), []byte("%SHA"), []byte("%MD5SUM%\nx\n\n%SHA"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := alpm.ParseDesc(b)
		if err != nil {
			wantAnyFault(t, err)
			return
		}
		if err := e.Check(); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		wantEntryRoundTrip(t, e)
		wantJSONRoundTrip(t, e)
	})
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("%FILES%\nusr/\nusr/a\\\\b\nusr/\\303\\274\nusr/\u00fc\n"))
	f.Add([]byte("usr/\nusr/\x01\nusr/\\x2d\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := alpm.ParseFiles(b)
		if err != nil {
			wantAnyFault(t, err)
			files = strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
			files = slices.DeleteFunc(files, func(s string) bool { return s[0] == '%' })
			slices.Sort(files)
			files = slices.Compact(files)
		}
		back, err := alpm.ParseFiles(alpm.AppendFiles(nil, files))
		if err != nil {
			t.Fatal(err)
		}
		if len(files)+len(back) > 0 && !reflect.DeepEqual(files, back) {
			t.Fatalf("%q comes back as %q", files, back)
		}
	})
}

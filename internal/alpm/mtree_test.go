package alpm_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"serene/internal/alpm"
)

const mtreeText = `#mtree
/set type=file uid=0 gid=0 mode=644
./.PKGINFO time=1704164645.0 size=3 md5digest=900150983cd24fb0d6963f7d28e17f72 sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
/set mode=755
./usr time=1704164645.123456789 type=dir
/set mode=644
./usr/a\040b\134\303\274 time=1704164645.0 mode=4755 uid=1 gid=2 size=3 sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
# a comment
./usr/link time=-1.0 mode=777 type=link link=../a\075b
`

func readMTree(r io.Reader, most int64) (entries []alpm.MTreeEntry, err error) {
	for e, err := range alpm.ReadMTree(r, most) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func TestReadMTree(t *testing.T) {
	got, err := readMTree(iotest.OneByteReader(bytes.NewReader(gz([]byte(mtreeText)))), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	abc := sha256.Sum256([]byte("abc"))
	want := []alpm.MTreeEntry{
		{Path: ".PKGINFO", Type: alpm.MTreeFile, Mode: 0o644, Size: 3, SHA256: abc, Time: 1704164645},
		{Path: "usr", Type: alpm.MTreeDir, Mode: 0o755, Time: 1704164645},
		{Path: "usr/a b\\ü", Type: alpm.MTreeFile, Mode: 0o4755, UID: 1, GID: 2, Size: 3, SHA256: abc, Time: 1704164645},
		{Path: "usr/link", Type: alpm.MTreeLink, Mode: 0o777, Link: "../a=b", Time: -1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReadMTreeRefuses(t *testing.T) {
	for _, c := range [][2]string{
		{mtreeText, ""},
		{"#mtree\n", ""},
		{"#mtree\n", "#mtree v2.0\n"},
		{"./usr ", "usr "},
		{"./usr ", "/usr "},
		{"./usr ", "/sets "},
		{" type=dir", " type=fifo"},
		{" type=dir", " type=dir\r"},
		{" type=dir", " type=dir optional"},
		{" type=dir", " type=dir nlink=2"},
		{" type=dir", " type=dir contents=/etc/passwd"},
		{" type=dir", "  type=dir"},
		{" type=dir", " type=dir \\"},
		{"mode=4755", "mode=44755"},
		{"mode=4755", "mode=u+s"},
		{"mode=4755", "mode=-1"},
		{"uid=1", "uid=4294967296"},
		{"uid=1", "uid=root"},
		{"/set type=file", "/set"},
		{" uid=0", ""},
		{"/set mode=755", "/set \x00=1"},
		{"/set mode=755", "/set time=" + strings.Repeat("\x1b", 60000)},
		{"/set mode=755", "/unset mode"},
		{"/set mode=755", "/unset size"},
		{"/set mode=755", "/unset all"},
		{" size=3 md5", " md5"},
		{" sha256digest=", " sha1digest="},
		{"ba7816", "ba78"},
		{"ba7816", "xx7816"},
		{"900150", "9001"},
		{" link=../a\\075b", ""},
		{"\\075", "\\75"},
		{"\\075", "\\475"},
		{"\\040", "\\s"},
		{"=1704164645.0 ", "=now "},
		{"# a comment\n", "# a comment\n" + strings.Repeat("#", 64<<10) + "\n"},
	} {
		if !strings.Contains(mtreeText, c[0]) {
			t.Fatalf("no %q to replace", c[0])
		}
		_, err := readMTree(bytes.NewReader(gz([]byte(strings.Replace(mtreeText, c[0], c[1], 1)))), 1<<20)
		if err == nil {
			t.Errorf("%q taken", c[1])
			continue
		}
		wantFault(t, err, alpm.KindMTreeSyntax)
	}
}

func TestReadMTreeLayer(t *testing.T) {
	whole := gz([]byte(mtreeText))
	long := "#mtree\n#" + strings.Repeat("x", 64<<10) + "\n"
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"empty":     {nil, ".MTREE ends in the middle of its gzip stream"},
		"plain":     {[]byte(mtreeText), ".MTREE is not compressed by gzip, or goes on behind that"},
		"cut":       {whole[:len(whole)-10], ".MTREE ends in the middle of its gzip stream"},
		"no sum":    {whole[:len(whole)-8], ".MTREE ends in the middle of its gzip stream"},
		"garbage":   {append(bytes.Clone(whole), "garbage..."...), ".MTREE is not compressed by gzip, or goes on behind that"},
		"bad sum":   {append(bytes.Clone(whole[:len(whole)-8]), make([]byte, 8)...), ".MTREE is damaged: its gzip stream does not decompress to what was compressed"},
		"bad data":  {append(bytes.Clone(whole[:10]), bytes.Repeat([]byte{0xff}, 40)...), ".MTREE is damaged: its gzip stream does not decompress to what was compressed"},
		"long line": {gz([]byte(long)), ".MTREE line 2: is longer than 64 KiB"},
		"no end":    {gz([]byte("#mtree\n#")), ".MTREE line 2: has no end"},
	} {
		_, err := readMTree(bytes.NewReader(c.data), 1<<20)
		if err == nil || err.Error() != c.says {
			t.Errorf("%s: got %v, want %s", name, err, c.says)
			continue
		}
		wantFault(t, err, alpm.KindMTreeSyntax)
	}
	for most, want := range map[int64]bool{int64(len(mtreeText)): true, int64(len(mtreeText)) - 1: false} {
		_, err := readMTree(bytes.NewReader(whole), most)
		if want && err != nil {
			t.Error(err)
		} else if !want {
			wantFault(t, err, alpm.KindMTreeSize)
		}
	}
	broken := errors.New("disk on fire")
	_, err := readMTree(io.MultiReader(bytes.NewReader(whole[:30]), iotest.ErrReader(broken)), 1<<20)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	for range alpm.ReadMTree(bytes.NewReader(whole), 1<<20) {
		break
	}
}

func FuzzMTree(f *testing.F) {
	f.Add([]byte(mtreeText))
	f.Add([]byte("#mtree\n/unset mode\n./a type=dir mode=0 uid=0 gid=0"))
	z := gzip.NewWriter(nil) // the most expensive part of an execution
	pack := func(text []byte) io.Reader {
		var buf bytes.Buffer
		z.Reset(&buf)
		z.Write(text)
		z.Close()
		return &buf
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := readMTree(pack(text), 1<<20)
		if err != nil {
			wantAnyFault(t, err)
			return
		}
		for _, e := range entries {
			if e.Mode > 0o7777 || e.Size < 0 || e.Type == alpm.MTreeLink != (e.Link != "") && e.Type != alpm.MTreeLink {
				t.Fatalf("accepted %+v", e)
			}
		}
		// Comments and blank lines mean nothing.
		again, err := readMTree(pack(append(text, "\n#\n"...)), 2<<20)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			return
		}
		if err != nil || !reflect.DeepEqual(entries, again) {
			t.Fatalf("with a comment: %+v, %v; without %+v", again, err, entries)
		}
	})
}

package alpm_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

func readDatabase(r io.Reader) (members []alpm.Member, err error) {
	for m, err := range alpm.ReadDatabase(r) {
		if err != nil {
			return members, err
		}
		members = append(members, m)
	}
	return members, nil
}

func TestDatabaseRoundTrip(t *testing.T) {
	long := entry(strings.Repeat("n", 200))
	long.Arch = "x86_64"
	long.FileName = long.Dir() + "-x86_64.pkg.tar.zst"
	want := []alpm.Member{
		{Entry: entry("a"), Files: alpm.AppendFiles(nil, []string{"usr/"})},
		{Entry: entry("b")},
		{Entry: long, Files: alpm.AppendFiles(nil, nil)},
	}
	var b []byte
	for _, m := range want {
		b = alpm.AppendMembers(b, m.Entry, m.Files)
	}
	b = append(b, alpm.EndOfArchive()...)
	for _, ext := range []string{".pkg.tar", ".pkg.tar.zst", ".pkg.tar.gz", ".pkg.tar.xz"} {
		got, err := readDatabase(iotest.HalfReader(bytes.NewReader(compressAs(t, b, ext))))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", ext, got, err)
		}
	}
}

func TestDatabaseEmpty(t *testing.T) {
	for _, b := range [][]byte{alpm.EndOfArchive(), make([]byte, 10240), compress(t, make([]byte, 10240))} {
		if got, err := readDatabase(bytes.NewReader(b)); err != nil || len(got) != 0 {
			t.Errorf("%d bytes: %v, %v", len(b), got, err)
		}
	}
}

// Frames of their own for single packages, as an incremental writer makes them.
func TestDatabaseFrames(t *testing.T) {
	var b []byte
	for _, name := range []string{"a", "b", "c"} {
		b = append(b, compress(t, alpm.AppendMembers(nil, entry(name), nil))...)
	}
	b = append(b, compress(t, alpm.EndOfArchive())...)
	if got, err := readDatabase(bytes.NewReader(b)); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDatabaseStops(t *testing.T) {
	for range alpm.ReadDatabase(bytes.NewReader(database(t, 3))) {
		break
	}
}

func TestDatabaseSourceFails(t *testing.T) {
	broken := errors.New("disk on fire")
	db := database(t, 100)
	_, err := readDatabase(io.MultiReader(bytes.NewReader(db[:len(db)/2]), iotest.ErrReader(broken)))
	if _, ok := errors.AsType[*alpm.Fault](err); ok || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// member is a tar member of nothing but a name and content.
func member(t *testing.T, name, content string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, content)
	w.Flush()
	return b.Bytes()
}

func TestDatabaseRefuses(t *testing.T) {
	a := alpm.AppendMembers(nil, entry("a"), nil)
	desc := string(entry("b").AppendDesc(nil))
	end := alpm.EndOfArchive()
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		tar  []byte
		kind string
	}{
		"nothing":           {nil, alpm.KindTarEnd},
		"no end":            {a, alpm.KindTarEnd},
		"half an end":       {join(a, end[:512]), alpm.KindTarEnd},
		"cut in a header":   {a[:700], alpm.KindTarEnd},
		"cut in content":    {a[:1600], alpm.KindTarEnd},
		"two archives":      {join(a, end, a, end), alpm.KindTarTrailing},
		"not a tar":         {bytes.Repeat([]byte("x"), 2048), alpm.KindTarCorrupt},
		"same package":      {join(a, a, end), alpm.KindDatabase},
		"same name":         {join(a, member(t, "b-1:2.0-1/desc", desc), a, end), alpm.KindDatabase},
		"desc twice":        {join(a, member(t, "a-1:2.0-1/desc", desc), end), alpm.KindDatabase},
		"no desc":           {join(member(t, "a-1:2.0-1/files", "%FILES%\n"), end), alpm.KindDatabase},
		"desc of another":   {join(member(t, "a-1:2.0-1/desc", desc), end), alpm.KindDatabase},
		"stray file":        {join(a, member(t, "desc", desc), end), alpm.KindDatabase},
		"unknown member":    {join(a, member(t, "a-1:2.0-1/depends", ""), end), alpm.KindDatabase},
		"deeper":            {join(member(t, "a/b/desc", desc), end), alpm.KindDatabase},
		"leading dot slash": {join(member(t, "./b-1:2.0-1/desc", desc), end), alpm.KindDatabase},
		"device":            {join(alpmtest.RawMember("a-1-1", '3', 0), end), alpm.KindDatabase},
		"huge desc":         {join(alpmtest.RawMember("a-1-1/desc", '0', 1<<32), end), alpm.KindDatabase},
		"huge files":        {join(alpmtest.RawMember("a-1-1/files", '0', 1<<26), end), alpm.KindTarEnd},
		"bad desc":          {join(member(t, "b-1:2.0-1/desc", "%NAME%\n"), end), "desc-syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readDatabase(bytes.NewReader(c.tar))
			wantFault(t, err, c.kind)
			_, err = readDatabase(bytes.NewReader(compress(t, c.tar)))
			wantFault(t, err, c.kind)
		})
	}
	for name, b := range map[string][]byte{
		"cut":     database(t, 100)[:300],
		"garbage": append(database(t, 1), 'x'),
	} {
		_, err := readDatabase(bytes.NewReader(b))
		t.Logf("%s: %v", name, err)
		wantFault(t, err, alpm.KindCompressionEnd)
	}
}

func FuzzDatabase(f *testing.F) {
	f.Add(append(alpm.AppendMembers(nil, entry("foo"), []byte("%FILES%\n")), alpm.EndOfArchive()...))
	f.Add(database(f, 2))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := readDatabase(bytes.NewReader(fixChecksums(b)))
		if err != nil {
			wantAnyFault(t, err)
			return
		}
		var again []byte
		for _, m := range members {
			again = alpm.AppendMembers(again, m.Entry, m.Files)
		}
		back, err := readDatabase(bytes.NewReader(append(again, alpm.EndOfArchive()...)))
		if err != nil || !reflect.DeepEqual(members, back) {
			t.Fatalf("written again it reads as %+v, %v; was %+v", back, err, members)
		}
	})
}

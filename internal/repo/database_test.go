package repo

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm"
)

func entry(name, version string) addition {
	e := &alpm.Entry{FileName: name + "-" + version + "-any.pkg.tar.zst", Name: name, Base: name, Version: alpm.Version(version),
		CSize: 1000, ISize: 4000, SHA256: strings.Repeat("ab", 32), Arch: "any", BuildDate: 1700000000, Packager: "Some One <one@example.org>",
		Desc: "the package called " + name, URL: "https://example.org/" + name, Depends: []string{"glibc", "bash>=5"}}
	files := []string{"usr/", "usr/share/", "usr/share/" + name + "/", "usr/share/" + name + "/data"}
	return addition{e, alpm.AppendFiles(nil, files)}
}

func entries(n int) []addition {
	var all []addition
	for i := range n {
		all = append(all, entry(fmt.Sprintf("pkg%05d", i), fmt.Sprintf("1.%d-1", i)))
	}
	return all
}

func edit(t testing.TB, d *database, add []addition, remove ...string) *database {
	t.Helper()
	next, err := d.edit(add, remove)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func (d *database) bytes(h half) []byte { return bytes.Join(d.frames(h), nil) }

// contents reads both files of d as any reader of the format would, and checks
// that they agree with each other and with the index.
func contents(t testing.TB, d *database) map[string]string {
	t.Helper()
	got := make(map[string]string)
	var order []string
	for m, err := range alpm.ReadDatabase(bytes.NewReader(d.bytes(dbHalf))) {
		if err != nil {
			t.Fatal(err)
		}
		got[m.Entry.Name] = string(m.Entry.Version)
		order = append(order, m.Entry.Dir())
	}
	if !slices.IsSorted(order) {
		t.Errorf("members are not byte-sorted: %q", order)
	}
	var again []string
	for m, err := range alpm.ReadDatabase(bytes.NewReader(d.bytes(filesHalf))) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(m.Files, []byte("usr/share/"+m.Entry.Name+"/data\n")) {
			t.Errorf("%s has the file list %q", m.Entry.Name, m.Files)
		}
		again = append(again, m.Entry.Dir())
	}
	if !slices.Equal(order, again) {
		t.Errorf("the databases differ:\n%q\n%q", order, again)
	}
	if len(got) != len(d.byName) {
		t.Errorf("%d packages, the index has %d", len(got), len(d.byName))
	}
	return got
}

// Whatever is added, replaced and removed, in whatever order: the database
// holds what a map would.
func TestEditAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	d, model := emptyDatabase, make(map[string]string)
	for range 60 {
		var add []addition
		var remove []string
		touched := make(map[string]bool)
		for range rnd.IntN(rnd.IntN(300) + 1) {
			name := fmt.Sprintf("p%d", rnd.IntN(600))
			if touched[name] {
				continue
			}
			touched[name] = true
			if rnd.IntN(3) == 0 {
				remove = append(remove, name)
				delete(model, name)
				continue
			}
			a := entry(name, fmt.Sprintf("%d-1", rnd.IntN(50)))
			add = append(add, a)
			model[name] = string(a.entry.Version)
		}
		d = edit(t, d, add, remove...)
		if got := contents(t, d); !maps.Equal(got, model) {
			t.Fatalf("got %v\nwant %v", got, model)
		}
		for i, g := range d.groups {
			if len(g.entries) > groupMax || len(g.entries) < groupMin && i+1 < len(d.groups) {
				t.Fatalf("group %d of %d has %d packages", i, len(d.groups), len(g.entries))
			}
		}
	}
}

func TestParseDatabase(t *testing.T) {
	d := edit(t, emptyDatabase, entries(1000))
	got, err := parseDatabase(d.bytes(dbHalf), d.bytes(filesHalf), emptyDatabase)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(t, got), contents(t, d)) {
		t.Error("parsed database differs")
	}
	next := edit(t, d, []addition{entry("pkg00500", "2-1")})
	got, err = parseDatabase(next.bytes(dbHalf), nil, d)
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for i, g := range got.groups {
		if &g.entries[0] == &d.groups[i].entries[0] {
			shared++
		}
	}
	if want := len(d.groups) - 1; shared != want {
		t.Errorf("%d groups taken over, want %d", shared, want)
	}
	for cut := range 40 {
		if _, err := parseDatabase(next.bytes(dbHalf)[:len(next.bytes(dbHalf))-1-cut*97], nil, emptyDatabase); err == nil {
			t.Errorf("a database cut by %d bytes is accepted", 1+cut*97)
		}
	}
}

// One package more recompresses one group and copies the others.
func TestEditTouchesOneGroup(t *testing.T) {
	d := edit(t, emptyDatabase, entries(5000))
	next := edit(t, d, []addition{entry("pkg02500", "9-1")})
	changed := 0
	for i, g := range next.groups {
		if g != d.groups[i] {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d groups changed", changed)
	}
}

// bsdtar and zstd read what pacman will.
func TestDatabaseReadByPeers(t *testing.T) {
	d := edit(t, emptyDatabase, entries(300))
	file := filepath.Join(t.TempDir(), "x.files")
	if err := os.WriteFile(file, d.bytes(filesHalf), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bsdtar", "-tf", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "/desc\n"); n != 300 {
		t.Errorf("bsdtar lists %d packages", n)
	}
	if out, err := exec.Command("zstd", "-tq", file).CombinedOutput(); err != nil {
		t.Errorf("zstd: %s", out)
	}
}

func FuzzSplitFrames(f *testing.F) {
	d := edit(f, emptyDatabase, entries(3))
	f.Add(d.bytes(dbHalf))
	f.Add(d.bytes(filesHalf))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 4, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := splitFrames(b)
		if err == nil && !bytes.Equal(bytes.Join(frames, nil), b) {
			t.Error("frames do not make the file again")
		}
	})
}

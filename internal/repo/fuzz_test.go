package repo

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"serene/internal/alpm"
)

// Whatever tx.json says, reading it ends in a request about files that are
// there, or in an error.
func FuzzRequest(f *testing.F) {
	p := build("foo", "1-1")
	pkg, err := alpm.ReadPackage(bytes.NewReader(p.data), p.name, alpm.DefaultLimits())
	if err != nil {
		f.Fatal(err)
	}
	for _, req := range []request{
		{ID: "x", Repo: "serene", Packages: []*alpm.Package{pkg}, Created: time.Unix(1, 0)},
		{ID: "x", Repo: "serene", Remove: []string{"foo"}},
		{ID: "x", Promote: &promotion{"testing", []string{"foo"}}, Hold: &Hold{Why: "x"}, HoldNames: []string{"foo"}},
		{ID: "x", Rollback: &rollback{Gen: 1}, Unhold: []string{"foo"}, Publish: "0", Drop: "1"},
		{ID: "x", Collect: &collection{}, Resign: &resigning{Packages: true}, Repair: true},
	} {
		data, err := json.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"tx":"x","packages":[null]}`))
	f.Add([]byte(`{"tx":"x","packages":[{"File":{"Name":"../../x"}}]}`))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, p.name), p.data, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, requestFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		req, err := readRequest(dir, "")
		if err != nil {
			return
		}
		for _, pkg := range req.Packages {
			if pkg.File.String() != p.name {
				t.Errorf("accepted a package %q, of which there is no file", pkg.File)
			}
			pkg.Entry()
		}
	})
}

// Whatever a journal holds, what is read of it can be written again and read
// the same.
func FuzzJournal(f *testing.F) {
	j := &journal{}
	records := []*Record{
		{Gen: 1, Tx: "a", Arches: []string{"x86_64"}, Add: []JournalItem{{Name: "foo", Version: "1-1"}}},
		{Gen: 1, Tx: "b", Hold: map[string]Hold{"foo": {Why: "x"}}, Unhold: []string{"bar"}},
	}
	lines, err := j.lines("serene", records)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(lines.Lines))
	f.Add([]byte(lines.Lines + `{"gen":2`))
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := new(journal)
		var all []*Record
		if err := j.read(bytes.NewReader(data), func(rec *Record) { all = append(all, rec) }); err != nil {
			return
		}
		if j.end > int64(len(data)) || (j.end == 0) != (len(all) == 0) {
			t.Fatalf("%d records end at %d of %d bytes", len(all), j.end, len(data))
		}
		again := 0
		k := new(journal)
		if err := k.read(bytes.NewReader(data[:j.end]), func(*Record) { again++ }); err != nil || again != len(all) || *k != *j {
			t.Fatalf("read again: %d records, %+v, %v; first %d, %+v", again, k, err, len(all), j)
		}
	})
}

// A commit to several journals that a damaged file asks for never panics, and
// writes to no file but the journals of configured repositories.
func FuzzCommitFile(f *testing.F) {
	f.Add([]byte(`[{"repo":"serene","at":0,"lines":"{}\n"},{"repo":"../x","at":-1,"lines":""}]`))
	f.Add([]byte(`[{"repo":"serene","at":9223372036854775807,"lines":"x"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newTestRepo(t)
		if err := os.WriteFile(r.store.commitFile(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		r.w.completeCommit()
		entries, err := os.ReadDir(r.store.path("repos"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !slices.Contains([]string{".lock", "commit.json", "commit.json.broken", "serene", "serene-debug"}, e.Name()) {
				t.Errorf("wrote %s", e.Name())
			}
		}
	})
}

func FuzzHolds(f *testing.F) {
	f.Add([]byte(`{"foo":{"why":"x","by":{"key":"k"},"since":"2026-01-01T00:00:00Z"}}`))
	f.Add([]byte("null"))
	store, err := Open(f.TempDir(), []Spec{{Name: "serene", Arches: []string{"x86_64"}}}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	if err := os.MkdirAll(store.path("repos/serene"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(store.holdsFile("serene"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		holds, err := store.Holds("serene")
		if err == nil && holds == nil {
			t.Fatal("neither holds nor an error")
		}
		if err == nil && len(holds) > 0 {
			held(holds, &alpm.Entry{Name: "foo", Base: "foo"})
		}
	})
}

func FuzzSignature(f *testing.F) {
	s, _, err := LoadOrCreateSigner(filepath.Join(f.TempDir(), "signing.asc"), nil, "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	digest := newDigest()
	digest.Write([]byte("content"))
	sig, err := s.sign(digest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add(append(sig, sig...))
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n"))
	other := newDigest()
	f.Fuzz(func(t *testing.T, data []byte) {
		if s.verify(data, other) == nil {
			t.Fatal("a signature over something else is taken")
		}
		p, err := parseSignature(data)
		if err == nil && (p.IssuerKeyId == nil || len(data) > maxSignature) {
			t.Fatalf("accepted %+v", p)
		}
	})
}

// Whatever bytes stand where a generation is, reading it ends in a database that
// agrees with itself, or in an error.
func FuzzParseDatabase(f *testing.F) {
	d := edit(f, emptyDatabase, entries(3))
	f.Add(d.bytes(dbHalf), d.bytes(filesHalf))
	f.Add(d.bytes(dbHalf), endFrame)
	f.Add(endFrame, endFrame)
	f.Fuzz(func(t *testing.T, db, files []byte) {
		got, err := parseDatabase(db, files, emptyDatabase)
		if err != nil || got.agree() != nil {
			return
		}
		for _, g := range got.groups {
			for _, e := range g.entries {
				if got.byName[e.Name] == nil {
					t.Fatalf("%s is not found by name", e.Name)
				}
			}
		}
	})
}

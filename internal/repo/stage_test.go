package repo

import (
	"bytes"
	"testing"

	"serene/internal/alpm"
)

func TestStage(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("old", "1-1"))
	stage := func() *Outcome {
		return r.ask(TxOptions{}, func(tx *Tx) {
			p := build("foo", "1-1")
			if _, err := tx.Add(t.Context(), p.name, -1, bytes.NewReader(p.data)); err != nil {
				t.Fatal(err)
			}
			tx.Stage()
		})
	}
	o := stage()
	wantLines(t, o, "staged serene/x86_64 foo 1-1")
	r.want("serene", "x86_64", "old 1-1")
	if got := r.stagedNames(o.Stage); len(got) != 2 {
		t.Errorf("staged database has %v", got)
	}
	for _, file := range []string{"foo-1-1-x86_64.pkg.tar.zst", "foo-1-1-x86_64.pkg.tar.zst.sig", "serene.db.sig", "serene.files.sig", "old-1-1-x86_64.pkg.tar.zst"} {
		f, err := r.store.OpenStaged(o.Stage, "serene", "x86_64", file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		f.Close()
	}
	if _, err := r.store.OpenStaged(newToken(), "serene", "x86_64", "old-1-1-x86_64.pkg.tar.zst"); err == nil {
		t.Error("a made-up token opens what is published")
	}
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Publish(o.Stage) }), "published serene/x86_64 foo 1-1 gen 3")
	r.want("serene", "x86_64", "foo 1-1", "old 1-1")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Publish(o.Stage) }), "not-found: no staged set "+o.Stage)
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Drop("../../x") }), "not-found: no staged set ../../x")
	wantEmpty(t, r.store.path("stages"))
	r.change(TxOptions{}, []string{"foo"})
	o = stage()
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Drop(o.Stage) }))
	wantEmpty(t, r.store.path("stages"))
	r.want("serene", "x86_64", "old 1-1")
}

func (r *testRepo) stagedNames(token string) (names []string) {
	r.t.Helper()
	f, err := r.store.OpenStaged(token, "serene", "x86_64", "serene.db")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for m, err := range alpm.ReadDatabase(f) {
		if err != nil {
			r.t.Fatal(err)
		}
		names = append(names, m.Entry.Name)
	}
	return names
}

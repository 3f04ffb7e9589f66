package repo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scenario is one change, on a repository with a past, that faults are injected
// into: whatever goes wrong, the change is there whole or not at all.
type scenario struct {
	name string
	past func(*testRepo)
	ask  func(tx *Tx, dir string) error
	was  map[string][]string // what each repository holds before it
	is   map[string][]string // and after it
}

var scenarios = []scenario{
	{
		name: "push",
		past: func(r *testRepo) { r.push(build("foo", "1-1"), build("bar", "1-1"), build("baz", "1-1")) },
		ask: func(tx *Tx, _ string) error {
			next := build("foo", "1-2")
			if _, err := tx.Add(context.Background(), next.name, -1, bytes.NewReader(next.data)); err != nil {
				return err
			}
			return tx.Remove("bar")
		},
		was: map[string][]string{"serene": {"bar 1-1", "baz 1-1", "foo 1-1"}},
		is:  map[string][]string{"serene": {"baz 1-1", "foo 1-2"}},
	},
	{
		name: "rollback",
		past: func(r *testRepo) {
			r.push(build("foo", "1-1"), build("bar", "1-1"))
			r.push(build("foo", "2-1"), build("new", "1-1"))
		},
		ask: func(tx *Tx, _ string) error { tx.RollbackTo(2); tx.Hold("2 eats data"); return nil },
		was: map[string][]string{"serene": {"bar 1-1", "foo 2-1", "new 1-1"}},
		is:  map[string][]string{"serene": {"bar 1-1", "foo 1-1"}},
	},
	{
		name: "promote",
		past: func(r *testRepo) {
			r.push(build("bar", "1-1"))
			r.change(TxOptions{Repo: "testing"}, nil, build("foo", "1-1"), build("tool", "1-1"))
		},
		ask: func(tx *Tx, _ string) error { tx.Promote("testing", "foo"); return nil },
		was: map[string][]string{"serene": {"bar 1-1"}, "testing": {"foo 1-1", "tool 1-1"}},
		is:  map[string][]string{"serene": {"bar 1-1", "foo 1-1"}, "testing": {"tool 1-1"}},
	},
	{
		name: "stage",
		past: func(r *testRepo) { r.push(build("bar", "1-1")) },
		ask: func(tx *Tx, _ string) error {
			tx.Stage()
			p := build("foo", "1-1")
			_, err := tx.Add(context.Background(), p.name, -1, bytes.NewReader(p.data))
			return err
		},
		was: map[string][]string{"serene": {"bar 1-1"}},
		is:  map[string][]string{"serene": {"bar 1-1"}},
	},
	{
		name: "publish",
		past: func(r *testRepo) {
			r.push(build("bar", "1-1"))
			o := r.ask(TxOptions{}, func(tx *Tx) {
				tx.Stage()
				p := build("foo", "1-1")
				if _, err := tx.Add(r.t.Context(), p.name, -1, bytes.NewReader(p.data)); err != nil {
					r.t.Fatal(err)
				}
			})
			if err := os.WriteFile(filepath.Join(r.dir, "token"), []byte(o.Stage), 0o600); err != nil {
				r.t.Fatal(err)
			}
		},
		ask: func(tx *Tx, dir string) error {
			token, err := os.ReadFile(filepath.Join(dir, "token"))
			tx.Publish(string(token))
			return err
		},
		was: map[string][]string{"serene": {"bar 1-1"}},
		is:  map[string][]string{"serene": {"bar 1-1", "foo 1-1"}},
	},
	{
		name: "resign",
		past: func(r *testRepo) {
			r.push(build("bar", "1-1"))
			r.ask(TxOptions{}, func(tx *Tx) { tx.Announce() })
		},
		ask: func(tx *Tx, _ string) error { tx.Resign(true); return nil },
		was: map[string][]string{"serene": {"bar 1-1"}},
		is:  map[string][]string{"serene": {"bar 1-1"}},
	},
}

func (sc *scenario) specs() []Spec {
	specs := []Spec{{Name: "serene", Arches: []string{"x86_64"}}}
	if len(sc.is) > 1 {
		specs = append(specs, Spec{Name: "testing", Arches: []string{"x86_64"}})
	}
	return specs
}

// base is a directory with the scenario's past, ready to be cloned.
func (sc *scenario) base(t *testing.T) string {
	r := &testRepo{t: t, dir: t.TempDir(), specs: sc.specs()}
	r.open()
	sc.past(r)
	r.w.Close()
	return r.dir
}

func cloneDir(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "state")
	if out, err := exec.Command("cp", "-a", dir, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// submit makes the change up to its acceptance, and returns its transaction.
func (sc *scenario) submit(store *Store, dir string) (string, error) {
	tx, err := store.Begin(Actor{Verb: sc.name}, TxOptions{})
	if err != nil {
		return "", err
	}
	defer tx.Abort()
	if err := sc.ask(tx, dir); err != nil {
		return "", err
	}
	return tx.Submit()
}

// newestGens are the generations of every database, as clients see them.
func newestGens(t *testing.T, s *Store) map[place]int64 {
	t.Helper()
	gens := make(map[place]int64)
	for _, p := range s.places() {
		v, err := s.View(p.repo, p.arch)
		if err != nil {
			t.Fatalf("what clients see of %s: %v", p, err)
		}
		gens[p] = v.Gen
	}
	return gens
}

// check starts on what a fault left, twice, and checks that the change is there
// whole or not at all, there when it was accepted, and answered; that what is
// published agrees with itself, and no generation went back. id is that of an
// accepted transaction.
func (sc *scenario) check(t *testing.T, dir, id string) {
	t.Helper()
	r := &testRepo{t: t, dir: dir, specs: sc.specs()}
	var err error
	if r.store, err = Open(dir, r.specs, Options{}); err != nil {
		t.Fatal(err)
	}
	before := newestGens(t, r.store)
	r.open()
	r.refresh()
	if err := r.store.SweepStaging(); err != nil {
		t.Error(err)
	}
	sc.checkHolds(r, id)
	for p, gen := range newestGens(t, r.store) {
		if gen < before[p] {
			t.Errorf("%s: generation %d after %d", p, gen, before[p])
		}
	}
	r.wantSound()
	wantEmpty(t, r.store.path("staging"))
	wantEmpty(t, r.store.path("inbox"))
	if _, err := os.Stat(r.store.commitFile()); err == nil {
		t.Error("a commit is not completed")
	}
	gens := newestGens(t, r.store)
	r.open()
	if again := newestGens(t, r.store); fmt.Sprint(again) != fmt.Sprint(gens) {
		t.Errorf("generations %v, after another start %v", gens, again)
	}
	sc.checkHolds(r, id)
}

// checkHolds checks what is published and what the client was told.
func (sc *scenario) checkHolds(r *testRepo, id string) {
	r.t.Helper()
	holds := func(want map[string][]string) bool {
		for repo := range want {
			if !slices.Equal(r.published(repo, "x86_64"), want[repo]) {
				return false
			}
		}
		return true
	}
	if !holds(sc.is) && (id != "" || !holds(sc.was)) {
		for repo := range sc.is {
			r.t.Errorf("%s holds %q; accepted %q", repo, r.published(repo, "x86_64"), id)
		}
	}
	if id == "" {
		return
	}
	o, err := r.store.Outcome(id)
	switch {
	case err == nil && sc.name == "stage" && o.Class == "too-large" && o.Stage == "":
		return // told that there was no space
	case err != nil || o.Error != "":
		r.t.Errorf("outcome %+v, %v", o, err)
	case sc.name == "resign":
	case len(o.Receipts) == 0:
		r.t.Errorf("outcome without receipts: %+v", o)
	case sc.name == "push":
		if line := o.Receipts[0].String() + o.Receipts[1].String(); !strings.Contains(line, "removed") || !strings.Contains(line, "published") {
			r.t.Errorf("receipts %s", line)
		}
	case sc.name == "stage":
		if got := r.stagedNames(o.Stage); len(got) != 2 {
			r.t.Errorf("staged %v", got)
		}
	}
}

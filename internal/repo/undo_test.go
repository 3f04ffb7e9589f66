package repo

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// ask submits a transaction that fill describes, and refreshes.
func (r *testRepo) ask(o TxOptions, fill func(*Tx)) *Outcome {
	r.t.Helper()
	tx, err := r.store.Begin(Actor{Key: "SHA256:test"}, o)
	if err != nil {
		return &Outcome{Class: classOf(err), Error: err.Error()}
	}
	defer tx.Abort()
	fill(tx)
	id, err := tx.Submit()
	if err != nil {
		return &Outcome{Class: classOf(err), Error: err.Error()}
	}
	r.refresh()
	return r.outcome(id)
}

func TestRollbackGeneration(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"), build("bar", "1-1"))
	r.push(build("foo", "2-1"), build("new", "1-1"))
	r.change(TxOptions{}, []string{"bar"})
	before, _ := r.store.View("serene", "x86_64")
	o := r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackTo(2); tx.Hold("2 eats data") })
	wantLines(t, o, "published serene/x86_64 bar 1-1 gen 5", "published serene/x86_64 foo 1-1 gen 5", "removed serene/x86_64 new 1-1 gen 5")
	r.want("serene", "x86_64", "bar 1-1", "foo 1-1")
	after, _ := r.store.View("serene", "x86_64")
	if !after.Time.After(before.Time) {
		t.Error("time ran back")
	}
	o = r.push(build("foo", "2-2"))
	if o.Class != "conflict" || !strings.Contains(o.Error, "2 eats data") {
		t.Errorf("a held package got in: %+v", o)
	}
	r.open() // holds come from the journal
	if o := r.push(build("foo", "2-2")); o.Class != "conflict" {
		t.Errorf("a held package got in after a restart: %+v", o)
	}
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Unhold("foo") }))
	wantLines(t, r.push(build("foo", "2-2")), "published serene/x86_64 foo 2-2 gen 6")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Unhold("foo") }), "not-found: foo is not held in serene")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackTo(99) }),
		"not-found: generation 99 of serene/x86_64 is not kept")
}

func TestRollbackPackage(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.push(build("foo", "2-1"))
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackPackage("foo", "1-1") }), "published serene/x86_64 foo 1-1 gen 4")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackPackage("foo", "1-1") }), "already there serene/x86_64 foo 1-1 gen 4")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackPackage("foo", "9-1") }), "not-found: foo 9-1 was never in serene")
	v, _ := r.store.View("serene", "x86_64")
	files, err := v.Files("foo")
	if err != nil || len(files) == 0 {
		t.Errorf("file list %q, %v", files, err)
	}
}

func TestPromote(t *testing.T) {
	r := newTestRepo(t)
	r.specs = append(r.specs, Spec{Name: "testing", Arches: []string{"x86_64"}})
	r.open()
	wantLines(t, r.change(TxOptions{Repo: "testing"}, nil, build("foo", "1-1")), "published testing/x86_64 foo 1-1 gen 2")
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Promote("testing", "foo") }),
		"published serene/x86_64 foo 1-1 gen 2", "removed testing/x86_64 foo 1-1 gen 3")
	r.want("testing", "x86_64")
	r.want("serene", "x86_64", "foo 1-1")
	f, err := r.store.OpenFile("serene", "x86_64", "foo-1-1-x86_64.pkg.tar.zst.sig")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	wantLines(t, r.ask(TxOptions{}, func(tx *Tx) { tx.Promote("testing", "foo") }), "not-found: no package foo in testing")
}

func TestProvenance(t *testing.T) {
	r := newTestRepo(t)
	p := build("foo", "1-1")
	r.ask(TxOptions{}, func(tx *Tx) {
		tx.Provenance(json.RawMessage(`{"job":"7"}`))
		if _, err := tx.Add(t.Context(), p.name, -1, strings.NewReader(string(p.data))); err != nil {
			t.Fatal(err)
		}
	})
	got, err := r.store.Provenance("serene", p.name)
	if string(got) != `{"job":"7"}` || err != nil {
		t.Errorf("provenance %q, %v", got, err)
	}
}

func TestGarbage(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.push(build("foo", "1-2"))
	r.push(build("foo", "1-3"))
	keep := Keep{Generations: 10 * time.Hour, Packages: 48 * time.Hour}
	collect := func(after time.Duration) {
		t.Helper()
		if _, err := r.w.Collect(time.Now().Add(after), keep); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(path string) bool { _, err := os.Lstat(r.store.path(path)); return !errors.Is(err, os.ErrNotExist) }
	const pool, arch = "repos/serene/pool/", "repos/serene/x86_64/"
	collect(9 * time.Hour)
	if !exists(arch+"gen/2") || !exists(pool+"foo-1-1-x86_64.pkg.tar.zst") {
		t.Error("collected before its time")
	}
	collect(11 * time.Hour)
	if exists(arch+"gen/2") || exists(arch+"gen/3") || !exists(arch+"gen/4") {
		t.Error("generations 2 and 3 should be gone, 4 there")
	}
	if !exists(pool + "foo-1-1-x86_64.pkg.tar.zst") {
		t.Error("package gone within its grace")
	}
	collect(49 * time.Hour)
	for _, f := range []string{"foo-1-1-x86_64.pkg.tar.zst", "foo-1-1-x86_64.pkg.tar.zst.sig"} {
		if exists(pool+f) || exists(arch+f) {
			t.Errorf("%s is still there", f)
		}
	}
	collect(10000 * time.Hour)
	if !exists(pool+"foo-1-3-x86_64.pkg.tar.zst") || !exists(pool+"foo-1-3-x86_64.pkg.tar.zst.sig") || !exists(arch+"foo-1-3-x86_64.pkg.tar.zst") {
		t.Error("a published package was collected")
	}
	if exists("done") && len(r.published("serene", "x86_64")) != 1 {
		t.Error("the database changed")
	}
	r.open()
	r.want("serene", "x86_64", "foo 1-3")
}

func TestTasks(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.push(build("foo", "1-2"))
	old := time.Now().Add(-2 * time.Hour)
	for _, gen := range []string{"1", "2", "3"} {
		if err := os.Chtimes(r.store.path("repos/serene/x86_64/gen", gen), old, old); err != nil {
			t.Fatal(err)
		}
	}
	o := r.ask(TxOptions{}, func(tx *Tx) { tx.Collect(Keep{}, true) })
	if len(o.Garbage) != 4 {
		t.Errorf("would remove %+v, want two generations, a package and its signature", o.Garbage)
	}
	wantPath := r.store.path(o.Garbage[0].Path)
	if _, err := os.Stat(wantPath); err != nil {
		t.Error("removed by a dry run")
	}
	r.ask(TxOptions{}, func(tx *Tx) { tx.Collect(Keep{}, false) })
	if _, err := os.Stat(wantPath); err == nil {
		t.Error("not removed")
	}
	if err := os.Remove(r.store.path("repos/serene/pool/foo-1-2-x86_64.pkg.tar.zst.sig")); err != nil {
		t.Fatal(err)
	}
	if o := r.ask(TxOptions{}, func(tx *Tx) { tx.Repair() }); len(o.Problems) != 1 {
		t.Errorf("problems %+v", o.Problems)
	}
	if left, err := r.store.Doctor(t.Context()); len(left) > 0 || err != nil {
		t.Error(left, err)
	}
}

// farFuture is a time by which everything is garbage that may be.
func farFuture() time.Time { return time.Now().Add(10000 * time.Hour) }

// What is held and there already is there already.
func TestHeldAlready(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.ask(TxOptions{}, func(tx *Tx) { tx.Hold("why", "foo") })
	wantLines(t, r.push(build("foo", "1-1")), "already there serene/x86_64 foo 1-1 gen 2")
}

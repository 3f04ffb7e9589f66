package repo

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A crash between the commit and any of what follows from it is made good at
// start: the change is there once, the client gets the answer it earned.
func TestCrashAfterCommit(t *testing.T) {
	for _, c := range []struct {
		name  string
		crash func(r *testRepo, b *batch)
	}{
		{"before the flip", func(r *testRepo, b *batch) {
			if err := os.Remove(r.store.path("repos", "serene", "x86_64", "current")); err != nil {
				r.t.Fatal(err)
			}
			if err := os.Symlink("gen/2", r.store.path("repos", "serene", "x86_64", "current")); err != nil {
				r.t.Fatal(err)
			}
		}},
		{"before the answer", func(r *testRepo, b *batch) {}},
		{"between answer and discard", func(r *testRepo, b *batch) {
			if err := r.store.writeOutcome(b.outcomes[0]); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTestRepo(t)
			r.push(build("old", "1-1"))
			id, err := r.submit(TxOptions{}, []string{"old"}, build("foo", "1-1"))
			if err != nil {
				t.Fatal(err)
			}
			b := r.w.newBatch()
			if err := b.take(id); err != nil {
				t.Fatal(err)
			}
			if err := b.commit(); err != nil {
				t.Fatal(err)
			}
			c.crash(r, b)
			r.open()
			r.want("serene", "x86_64", "foo 1-1")
			r.refresh()
			o := r.outcome(id)
			if o.Error != "" || len(o.Receipts) != 2 || o.Receipts[0].Gen != 3 {
				t.Errorf("outcome %+v", o)
			}
			r.want("serene", "x86_64", "foo 1-1")
			wantEmpty(t, r.store.path("inbox"))
		})
	}
}

// A refresh that fails after its commit is finished by the next one, and its
// clients are told what was done, not that it is there already.
func TestRefreshFailsAfterCommit(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("old", "1-1"))
	id, err := r.submit(TxOptions{}, []string{"old"}, build("foo", "1-1"))
	if err != nil {
		t.Fatal(err)
	}
	arch := r.store.archDir(place{"serene", "x86_64"})
	inTheWay := filepath.Join(arch, ".aside-current", "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.w.Refresh(context.Background()); err == nil {
		t.Fatal("the flip did not fail")
	}
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	r.refresh()
	wantLines(t, r.outcome(id), "removed serene/x86_64 old 1-1 gen 3", "published serene/x86_64 foo 1-1 gen 3")
}

// What was written aside before the commit does not count, and is in nobody's
// way.
func TestCrashBeforeCommit(t *testing.T) {
	r := newTestRepo(t)
	id, err := r.submit(TxOptions{}, nil, build("foo", "1-1"))
	if err != nil {
		t.Fatal(err)
	}
	b := r.w.newBatch()
	if err := b.take(id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.writeGenerations(); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.want("serene", "x86_64")
	r.refresh()
	wantLines(t, r.outcome(id), "published serene/x86_64 foo 1-1 gen 2")
}

// A journal line cut short by a crash was never committed.
func TestTornJournal(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	path := r.store.journal("serene")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, `{"gen":3,"time":"2026-`...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	wantLines(t, r.push(build("bar", "1-1")), "published serene/x86_64 bar 1-1 gen 3")
	r.open()
	r.want("serene", "x86_64", "bar 1-1", "foo 1-1")
}

func TestJournalNotices(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.push(build("foo", "1-2"))
	path := r.store.journal("serene")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, bad := range map[string]string{
		"a line altered": strings.Replace(string(whole), "1-1", "1-9", 1),
		"a line lost":    lines[0] + lines[2],
		"lines swapped":  lines[1] + lines[0] + lines[2],
		"first lost":     lines[1] + lines[2],
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openJournal(path, func(*Record) {}); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// Whatever of the published state is lost or damaged is made again out of the
// pool and the journal.
func TestRebuild(t *testing.T) {
	for name, damage := range map[string]func(arch string) error{
		"no current":        func(arch string) error { return os.Remove(filepath.Join(arch, "current")) },
		"no generation":     func(arch string) error { return os.RemoveAll(filepath.Join(arch, "gen", "3")) },
		"no generations":    func(arch string) error { return os.RemoveAll(arch) },
		"damaged database":  func(arch string) error { return flipByte(filepath.Join(arch, "gen", "3", "serene.db")) },
		"damaged files":     func(arch string) error { return flipByte(filepath.Join(arch, "gen", "3", "serene.files")) },
		"damaged signature": func(arch string) error { return flipByte(filepath.Join(arch, "gen", "3", "serene.db.sig")) },
		"no journal":        func(arch string) error { return os.Remove(filepath.Join(arch, "..", "journal.jsonl")) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRepo(t)
			r.push(build("foo", "1-1"))
			r.push(build("foo", "1-2"), build("bar", "1-1"))
			before, err := r.store.View("serene", "x86_64")
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(r.store.path("repos", "serene", "x86_64")); err != nil {
				t.Fatal(err)
			}
			r.open()
			r.want("serene", "x86_64", "bar 1-1", "foo 1-2")
			after, err := r.store.View("serene", "x86_64")
			if err != nil || after.Gen < before.Gen || after.Gen > before.Gen && !after.Time.After(before.Time) {
				t.Errorf("generation %d of %v after %d of %v: %v", after.Gen, after.Time, before.Gen, before.Time, err)
			}
			r.push(build("baz", "1-1"))
			r.open()
			r.want("serene", "x86_64", "bar 1-1", "baz 1-1", "foo 1-2")
		})
	}
}

// A journal damaged in its middle is set aside and said; what is published and
// held stays, numbers and times go on, and the new chain is whole.
func TestJournalSetAside(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.ask(TxOptions{}, func(tx *Tx) { tx.Hold("breaks", "bar") })
	r.push(build("foo", "1-2"))
	before, _ := r.store.View("serene", "x86_64")
	journal := r.store.journal("serene")
	if err := flipByte(journal); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.want("serene", "x86_64", "foo 1-2")
	after, _ := r.store.View("serene", "x86_64")
	if after.Gen <= before.Gen || !after.Time.After(before.Time) {
		t.Errorf("generation %d of %v after %d of %v", after.Gen, after.Time, before.Gen, before.Time)
	}
	aside, err := filepath.Glob(journal + ".broken-*")
	if len(aside) != 1 || err != nil {
		t.Fatalf("set aside: %v, %v", aside, err)
	}
	var first *Record
	if err := r.store.History("serene", func(rec *Record) {
		if first == nil {
			first = rec
		}
	}); err != nil || first.Aside != filepath.Base(aside[0]) || first.Verb != "start" {
		t.Errorf("history begins with %+v, %v", first, err)
	}
	if err := os.Remove(aside[0]); err != nil { // doctor names it while it is there
		t.Fatal(err)
	}
	r.wantSound()
	for range 2 {
		if o := r.push(build("bar", "1-1")); o.Class != "conflict" {
			t.Errorf("the hold is lost: %+v", o)
		}
		r.open()
	}
	wantLines(t, r.push(build("foo", "1-3")), "published serene/x86_64 foo 1-3 gen 5")
}

// With neither journal nor database the pool is what is left.
func TestOnlyThePoolIsLeft(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"), build("bar", "1:1-1"))
	r.push(build("foo", "1-2"))
	for _, path := range []string{r.store.journal("serene"), r.store.path("repos/serene/x86_64/current")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, gen := range []string{"1", "2", "3"} {
		if err := flipByte(r.store.path("repos/serene/x86_64/gen", gen, "serene.db")); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	r.want("serene", "x86_64", "bar 1:1-1", "foo 1-2")
	wantLines(t, r.push(build("baz", "1-1")), "published serene/x86_64 baz 1-1 gen 5")
	r.wantSound()
}

// The clock is set back by an hour between two changes: clients see time go on.
func TestClockSteppedBack(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.w.journals["serene"].modified = time.Now().Add(time.Hour)
	ahead := r.push(build("foo", "1-2"))
	for i, version := range []string{"1-3", "1-4"} {
		was, _ := r.store.View("serene", "x86_64")
		if i > 0 {
			r.open()
		}
		r.push(build("foo", version))
		is, _ := r.store.View("serene", "x86_64")
		if is.Time.Sub(was.Time) < time.Second || is.Time.Before(time.Now().Add(59*time.Minute)) {
			t.Errorf("%v, then %v; outcome %+v", was.Time, is.Time, ahead)
		}
	}
	if old, err := r.w.Garbage(time.Now(), Keep{}); err != nil || len(old) != 0 {
		t.Errorf("garbage of the future: %v, %v", old, err)
	}
}

func flipByte(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 0x40
	return os.WriteFile(file, data, 0o600)
}

// Several transactions are one generation, each with its own answer, and one
// refused among them takes nothing from the others.
func TestRefreshCoalesces(t *testing.T) {
	r := newTestRepo(t)
	var ids []string
	for _, p := range []pkg{build("a", "1-1"), build("b", "1-1"), build("a", "1-2")} {
		id, err := r.submit(TxOptions{}, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	late, err := r.submit(TxOptions{}, nil, build("a", "1-1.5"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.w.Refresh(context.Background()); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	wantLines(t, r.outcome(ids[0]), "published serene/x86_64 a 1-1 gen 2")
	wantLines(t, r.outcome(ids[2]), "published serene/x86_64 a 1-2 gen 2")
	wantLines(t, r.outcome(late), "conflict: a-1-1.5-x86_64.pkg.tar.zst: 1-1.5 is older than 1-2, which is published (--downgrade allows it)")
	r.want("serene", "x86_64", "a 1-2", "b 1-1")
	gens, err := os.ReadDir(r.store.path("repos", "serene", "x86_64", "gen"))
	if err != nil || len(gens) != 2 {
		t.Error(gens, err)
	}
}

// Both databases, both signatures: clients take them for newer only when their
// time says so, in whole seconds.
func TestGenerationTimes(t *testing.T) {
	r := newTestRepo(t)
	var times []int64
	for _, v := range []string{"1-1", "1-2", "1-3", "1-4"} {
		o := r.push(build("foo", v))
		dir := r.store.genDir(place{"serene", "x86_64"}, o.Receipts[0].Gen)
		var of []int64
		for _, f := range []string{"serene.db", "serene.db.sig", "serene.files", "serene.files.sig"} {
			st, err := os.Stat(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			of = append(of, st.ModTime().Unix())
		}
		if slices.Min(of) != slices.Max(of) {
			t.Errorf("one generation, times %v", of)
		}
		times = append(times, of[0])
	}
	for i := 1; i < len(times); i++ {
		if times[i] <= times[i-1] {
			t.Errorf("times %v do not rise", times)
		}
	}
}

// A transaction that cannot be decided on waits, and holds up nobody.
func TestStuckTransaction(t *testing.T) {
	r := newTestRepo(t)
	if err := os.MkdirAll(r.store.path("keys", "uploaders"), 0o700); err != nil {
		t.Fatal(err)
	}
	bad := r.store.path("keys", "uploaders", "bad.asc")
	if err := os.WriteFile(bad, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, _, err := LoadOrCreateSigner(filepath.Join(t.TempDir(), "key"), nil, "other")
	if err != nil {
		t.Fatal(err)
	}
	signed := build("signed", "1-1")
	digest := newDigest()
	digest.Write(signed.data)
	sig, err := other.sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := r.submit(TxOptions{}, nil, signed, pkg{signed.name + ".sig", sig})
	if err != nil {
		t.Fatal(err)
	}
	free, err := r.submit(TxOptions{}, nil, build("free", "1-1"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.w.Refresh(context.Background()); n != 1 || err == nil {
		t.Errorf("answered %d, %v", n, err)
	}
	wantLines(t, r.outcome(free), "published serene/x86_64 free 1-1 gen 2")
	if err := os.RemoveAll(filepath.Dir(bad)); err != nil {
		t.Fatal(err)
	}
	r.refresh()
	wantLines(t, r.outcome(stuck), "published serene/x86_64 signed 1-1 gen 3")
}

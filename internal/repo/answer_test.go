package repo

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// "Already there" names the generation a client finds the package in now, not
// the one that it entered with: also where that is made by the same
// transaction, by another of the same refresh, or before the answer was lost.
func TestAlreadyThereGeneration(t *testing.T) {
	r := newTestRepo(t)
	foo, bar := build("foo", "1-1"), build("bar", "1-1")
	r.push(foo)
	wantLines(t, r.push(bar, foo), "published serene/x86_64 bar 1-1 gen 3", "already there serene/x86_64 foo 1-1 gen 3")
	wantLines(t, r.push(foo), "already there serene/x86_64 foo 1-1 gen 3")

	baz := build("baz", "1-1")
	first, second, third := r.hand(baz), r.hand(baz), r.hand(foo)
	r.refresh()
	wantLines(t, r.outcome(first), "published serene/x86_64 baz 1-1 gen 4")
	wantLines(t, r.outcome(second), "already there serene/x86_64 baz 1-1 gen 4")
	wantLines(t, r.outcome(third), "already there serene/x86_64 foo 1-1 gen 4")

	lost := r.hand(build("qux", "1-1"), foo)
	inTheWay := filepath.Join(r.store.archDir(place{"serene", "x86_64"}), ".aside-current", "x")
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
	wantLines(t, r.outcome(lost), "published serene/x86_64 qux 1-1 gen 5", "already there serene/x86_64 foo 1-1 gen 5")
}

// hand submits packages and leaves them to the next refresh.
func (r *testRepo) hand(pkgs ...pkg) (id string) {
	r.t.Helper()
	id, err := r.submit(TxOptions{}, nil, pkgs...)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

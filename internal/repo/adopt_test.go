package repo

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// drop puts a directory of packages into the inbox as another tool would.
func (r *testRepo) drop(name string, pkgs ...pkg) string {
	r.t.Helper()
	aside := filepath.Join(r.t.TempDir(), "aside")
	if err := os.Mkdir(aside, 0o700); err != nil {
		r.t.Fatal(err)
	}
	for _, p := range pkgs {
		if err := os.WriteFile(filepath.Join(aside, p.name), p.data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	to := r.store.path("inbox", name)
	if err := os.Rename(aside, to); err != nil {
		r.t.Fatal(err)
	}
	return to
}

func (r *testRepo) adopt(want int) {
	r.t.Helper()
	if n, err := r.store.Adopt(r.t.Context(), slog.New(slog.DiscardHandler)); n != want || err != nil {
		r.t.Fatalf("adopted %d, %v; want %d", n, err, want)
	}
}

func TestAdopt(t *testing.T) {
	r := newTestRepo(t)
	r.specs = append(r.specs, Spec{Name: "testing", Arches: []string{"x86_64"}})
	r.open()
	r.drop("nightly", build("foo", "1-1"), build("bar", "1-1"), build("broken", "1-1", alpmtest.Without(".MTREE")))
	r.drop("testing:nightly", build("foo", "2-1"))
	r.refresh()
	r.want("serene", "x86_64") // the writer leaves them alone until they are read
	r.adopt(2)
	r.refresh()
	r.want("serene", "x86_64", "bar 1-1", "foo 1-1")
	r.want("testing", "x86_64", "foo 2-1")
	o := r.outcome("nightly")
	if o.Error != "" || o.Import.Taken != 2 || len(o.Import.Refused) != 1 || !strings.Contains(o.Import.Refused[0].Why, ".MTREE") {
		t.Errorf("outcome %+v, import %+v", o, o.Import)
	}
	if o := r.outcome(o.Import.Tx); len(o.Receipts) != 2 {
		t.Errorf("receipts %+v", o.Receipts)
	}
	wantEmpty(t, r.store.path("inbox"))
	wantEmpty(t, r.store.path("staging"))
}

// A name that was used before is a new directory all the same.
func TestAdoptSameNameAgain(t *testing.T) {
	r := newTestRepo(t)
	for _, version := range []string{"1-1", "1-2"} {
		r.drop("nightly", build("foo", version))
		r.refresh()
		r.adopt(1)
		r.refresh()
		r.want("serene", "x86_64", "foo "+version)
	}
}

func TestAdoptRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"empty":                    "not-found: there are no packages in",
		"none:such":                "not-found: no repository none",
		"-n":                       "",
		strings.Repeat("long", 50): "",
	} {
		r := newTestRepo(t)
		if name == "empty" {
			r.drop(name)
		} else {
			r.drop(name, build("foo", "1-1"))
		}
		r.adopt(1)
		r.refresh()
		r.want("serene", "x86_64")
		wantEmpty(t, r.store.path("inbox"))
		if want == "" {
			wantEmpty(t, r.store.path("done"))
		} else if o := r.outcome(name); !strings.HasPrefix(o.Class+": "+o.Error, want) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// Nothing but regular files is opened: whoever may drop files here may not read
// what the daemon reads.
func TestAdoptFollowsNoLinks(t *testing.T) {
	r := newTestRepo(t)
	elsewhere := build("foo", "1-1")
	target := filepath.Join(t.TempDir(), elsewhere.name)
	if err := os.WriteFile(target, elsewhere.data, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := r.drop("links", build("bar", "1-1"))
	if err := os.Symlink(target, filepath.Join(dir, elsewhere.name)); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, filepath.Join(dir, "pipe-1-1-any.pkg.tar.zst"))
	if err := os.Mkdir(filepath.Join(dir, "dir-1-1-any.pkg.tar.zst"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.adopt(1)
	r.refresh()
	r.want("serene", "x86_64", "bar 1-1")
	if o := r.outcome("links"); len(o.Import.Refused) != 3 {
		t.Errorf("refused %+v", o.Import.Refused)
	}
}

// Cut off after the transaction was submitted and before the directory was
// removed, it is imported again and changes nothing.
func TestAdoptTwice(t *testing.T) {
	r := newTestRepo(t)
	r.drop("nightly", build("foo", "1-1"))
	if _, err := r.store.importDropped(t.Context(), "nightly"); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.refresh()
	r.adopt(1)
	r.refresh()
	r.want("serene", "x86_64", "foo 1-1")
	if o := r.outcome("nightly"); o.Import.Already != 1 || o.Import.Tx != "" {
		t.Errorf("import %+v", o.Import)
	}
}

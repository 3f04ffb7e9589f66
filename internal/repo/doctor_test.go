package repo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What was damaged and set aside stays said until somebody removes it.
func TestDoctorSetAside(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	for _, file := range []string{r.store.journal("serene"), r.store.commitFile()} {
		if err := os.WriteFile(file, []byte("junk\n"), 0o660); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	aside := setAside(t, r)
	if len(aside) != 2 {
		t.Fatalf("set aside: %q", aside)
	}
	found, err := r.store.Doctor(t.Context())
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	for i, where := range []string{"repos commit.json.broken: a damaged ", "serene " + filepath.Base(aside[1]) + ": a damaged journal, "} {
		if !strings.HasPrefix(found[i].String(), where) || found[i].Repair != "" {
			t.Errorf("found %+v, want %s", found[i], where)
		}
	}
	if err := r.w.Repair(found); err != nil {
		t.Fatal(err)
	}
	if left := setAside(t, r); !slices.Equal(left, aside) {
		t.Errorf("left: %q", left)
	}
}

// setAside lists the files in repos/ that were damaged and moved out of the way.
func setAside(t *testing.T, r *testRepo) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"repos/*.broken*", "repos/*/*.broken*"} {
		files, err := filepath.Glob(r.store.path(pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	return found
}

func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		name     string
		damage   func(r *testRepo) error
		want     string // in the first problem
		repaired bool
	}{
		{"nothing", func(*testRepo) error { return nil }, "", true},
		{"package damaged", func(r *testRepo) error { return flipByte(r.store.path("repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst")) }, "with sha256", false},
		{"package lost", func(r *testRepo) error {
			return os.Remove(r.store.path("repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst"))
		}, "no such file", false},
		{"signature lost", func(r *testRepo) error {
			return os.Remove(r.store.path("repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst.sig"))
		}, "no such file", true},
		{"signature damaged", func(r *testRepo) error {
			return flipByte(r.store.path("repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst.sig"))
		}, "signature", true},
		{"database damaged", func(r *testRepo) error { return flipByte(r.store.path("repos/serene/x86_64/current/serene.db")) }, "serene", true},
		{"files damaged", func(r *testRepo) error { return flipByte(r.store.path("repos/serene/x86_64/current/serene.files")) }, "serene", true},
		{"no current", func(r *testRepo) error { return os.Remove(r.store.path("repos/serene/x86_64/current")) }, "no current generation", true},
		{"journal damaged", func(r *testRepo) error { return flipByte(r.store.journal("serene")) }, "journal", true},
		{"holds damaged", func(r *testRepo) error { return os.Truncate(r.store.holdsFile("serene"), 1) }, "serene holds.json: ", true},
		{"holds altered", func(r *testRepo) error {
			return os.WriteFile(r.store.holdsFile("serene"), []byte(`{"foo":{}}`), 0o660)
		}, "other packages than the journal says", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTestRepo(t)
			r.push(build("foo", "1-1"), build("bar", "1-1"))
			if err := c.damage(r); err != nil {
				t.Fatal(err)
			}
			found, err := r.store.Doctor(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) == 0 || !strings.Contains(found[0].String(), c.want)) {
				t.Fatalf("found %v, want %q", found, c.want)
			}
			if !c.repaired {
				return
			}
			if err := r.w.Repair(found); err != nil {
				t.Fatal(err)
			}
			for _, aside := range setAside(t, r) {
				if err := os.Remove(aside); err != nil {
					t.Fatal(err)
				}
			}
			if left, err := r.store.Doctor(t.Context()); len(left) > 0 || err != nil {
				t.Errorf("after the repair: %v, %v", left, err)
			}
			r.want("serene", "x86_64", "bar 1-1", "foo 1-1")
		})
	}
}

package repo

import (
	"os"
	"path/filepath"
	"testing"

	"serene/internal/alpm/alpmtest"
)

func TestImport(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("here", "1-1"))
	dir := t.TempDir()
	for _, p := range []pkg{
		build("foo", "1-1"), build("foo", "1-2"), build("bar", "1:1-1"), build("here", "1-1"),
		build("broken", "1-1", alpmtest.Without(".MTREE")), build("old", "1-1"),
	} {
		if err := os.WriteFile(filepath.Join(dir, p.name), p.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "serene.db.tar.gz"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.push(build("old", "2-1"))
	calls := 0
	report, err := r.store.Import(t.Context(), dir, "serene", Actor{Verb: "import"}, func(done, total int) {
		if calls++; done != calls || total != 6 {
			t.Errorf("progress %d of %d at call %d", done, total, calls)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Taken != 2 || report.Already != 1 || len(report.Refused) != 3 {
		t.Errorf("report %+v", report)
	}
	r.refresh()
	if o := r.outcome(report.Tx); o.Error != "" {
		t.Error(o.Error)
	}
	r.want("serene", "x86_64", "bar 1:1-1", "foo 1-2", "here 1-1", "old 2-1")
	if again, err := r.store.Import(t.Context(), dir, "serene", Actor{}, func(int, int) {}); err != nil || again.Taken != 0 || again.Already != 3 {
		t.Errorf("again: %+v, %v", again, err)
	}
	wantEmpty(t, r.store.path("staging"))
}

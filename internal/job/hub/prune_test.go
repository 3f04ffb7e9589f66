package hub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serene/internal/job"
)

// history is a directory of jobs with ends in the past.
type history struct {
	*testing.T
	dir *job.Dir
	now time.Time
}

func newHistory(t *testing.T) (*history, string) {
	state := t.TempDir()
	dir, err := job.OpenHubDir(state)
	if err != nil {
		t.Fatal(err)
	}
	return &history{t, dir, time.Now()}, state
}

const day = 24 * time.Hour

// job makes one with a log and a source.
func (w *history) job(state job.State, base string, ended time.Duration, change func(*job.Record)) job.ID {
	w.Helper()
	at := w.now.Add(-ended).UTC()
	id := job.NewID(at)
	r := &job.Record{ID: id, Group: id, Base: base, Repo: "serene", Arch: "x86_64", State: state, Created: at, Ended: at}
	if change != nil {
		change(r)
	}
	if _, err := w.dir.AddSource(id, strings.NewReader("tar"), 10); err != nil {
		w.Fatal(err)
	}
	if err := errors.Join(w.dir.Write(r), os.WriteFile(w.dir.LogFile(id), []byte("hello\n"), 0o660)); err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *history) there(id job.ID) bool {
	w.Helper()
	_, err := w.dir.Read(id)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		w.Error(err)
	}
	_, left := os.Stat(filepath.Dir(w.dir.LogFile(id)))
	if (err == nil) != (left == nil) {
		w.Errorf("job %s: %v, but its directory: %v", id, err, left)
	}
	return err == nil
}

// TestOldJobsAreRemoved says which are, by a hub that starts.
func TestOldJobsAreRemoved(t *testing.T) {
	w, state := newHistory(t)
	group := func(id job.ID) func(*job.Record) { return func(r *job.Record) { r.Group = id } }
	elsewhere := func(r *job.Record) { r.Arch = "aarch64" }
	gone := map[string]job.ID{
		"done":         w.job(job.Done, "foo", 95*day, nil),
		"failed":       w.job(job.Failed, "foo", 94*day, nil),
		"without base": w.job(job.Failed, "", 93*day, nil),
	}
	stay := map[string]job.ID{
		"last of its base":         w.job(job.Cancelled, "foo", 92*day, nil),
		"last for its arch":        w.job(job.Done, "foo", 97*day, elsewhere),
		"young":                    w.job(job.Done, "bar", 89*day, nil),
		"last one, of another day": w.job(job.Done, "bar", 1*day, nil),
		"needed":                   w.job(job.Done, "baz", 96*day, nil),
		"of a group that lives":    w.job(job.Done, "baz", 95*day, nil),
	}
	lives := w.job(job.Held, "baz", 0, group(stay["of a group that lives"]))
	w.job(job.Held, "baz", 0, func(r *job.Record) { r.Needs = []job.Need{{Base: "baz", Job: stay["needed"]}} })
	h := &Hub{opt: Options{}.withDefaults(), dir: w.dir, jobs: make(map[job.ID]*job.Record)}
	if err := h.takeUp(); err != nil {
		t.Fatal(err)
	}
	h.removeOld(t.Context(), w.now)
	for what, id := range gone {
		if w.there(id) {
			t.Errorf("%s is still there", what)
		}
	}
	for what, id := range stay {
		if !w.there(id) {
			t.Errorf("%s is gone", what)
		}
	}
	if !w.there(lives) {
		t.Error("what is not over is gone")
	}
	if left, _ := os.ReadDir(filepath.Join(state, "builds")); len(left) != len(stay)+2 {
		t.Errorf("builds/ has %d entries", len(left))
	}
}

// TestRetriedJobStays has a job taken up again after it was found to be old.
func TestRetriedJobStays(t *testing.T) {
	w, _ := newHistory(t)
	id := w.job(job.Failed, "foo", 95*day, nil)
	h := &Hub{opt: Options{}.withDefaults(), dir: w.dir, jobs: make(map[job.ID]*job.Record)}
	found, err := w.dir.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	again := *found
	again.State, again.Ended = job.Queued, time.Time{}
	if err := h.put(&again); err != nil {
		t.Fatal(err)
	}
	if removed, err := h.remove(found); removed || err != nil || !w.there(id) {
		t.Errorf("removed: %v, %v", removed, err)
	}
}

// TestPruneEveryDay lets days pass. What a crash left, and a record that cannot
// be read, keep it from nothing.
func TestPruneEveryDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newHistory(t)
		id := w.job(job.Done, "foo", 88*day, nil)
		w.job(job.Done, "foo", 0, nil)
		bad := w.job(job.Done, "foo", 99*day, nil)
		torn := w.job(job.Done, "foo", 98*day, nil)
		record := func(id job.ID) string { return filepath.Join(filepath.Dir(w.dir.LogFile(id)), "build.json") }
		if err := errors.Join(os.WriteFile(record(bad), []byte("{"), 0o660), os.Remove(record(torn))); err != nil {
			t.Fatal(err)
		}
		h := &Hub{opt: Options{}.withDefaults(), dir: w.dir, jobs: make(map[job.ID]*job.Record)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go h.prune(ctx)
		time.Sleep(day)
		synctest.Wait()
		if !w.there(id) {
			t.Error("gone too early")
		}
		time.Sleep(3 * day)
		synctest.Wait()
		if w.there(id) {
			t.Error("still there")
		}
		if _, err := os.Stat(record(bad)); err != nil {
			t.Errorf("what cannot be read is gone: %v", err)
		}
	})
}

package hub_test

import (
	"errors"
	"strings"
	"testing"

	"serene/internal/job"
	"serene/internal/job/hub"
)

// byBase finds the one job for base.
func (w *world) byBase(base string) *job.Record {
	w.Helper()
	all, err := w.dir.List()
	if err != nil {
		w.Fatal(err)
	}
	var found *job.Record
	for _, r := range all {
		if r.Base == base && found != nil {
			w.Fatalf("two jobs for %s", base)
		}
		if r.Base == base {
			found = r
		}
	}
	if found == nil {
		w.Fatalf("no job for %s", base)
	}
	return found
}

// TestChain: a needs b and c, b needs d, c needs d, and d is built once.
func TestChain(t *testing.T) {
	w := newWorld(t)
	top := w.one("a")
	b := w.builder("b1")
	needs := map[string][]string{"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}
	met := map[string]bool{}
	var order []string
	for len(order) < 4 {
		task := b.take()
		if !met[task.Base] && needs[task.Base] != nil {
			met[task.Base] = true
			if state := b.needs(task, needs[task.Base]...); state != job.Waiting {
				t.Errorf("%s is %s", task.Base, state)
			}
			continue
		}
		order = append(order, task.Base)
		b.done(task)
	}
	if got := strings.Join(order, " "); got != "d b c a" && got != "d c b a" {
		t.Errorf("built %s", got)
	}
	for _, base := range []string{"a", "b", "c", "d"} {
		if r := w.byBase(base); r.State != job.Done || r.Group != top {
			t.Errorf("%s: %s in group %s", base, r.State, r.Group)
		}
	}
	if log := w.log(top); !strings.Contains(log, "==> [queue] waits for b (") {
		t.Errorf("log %s", log)
	}
}

func TestFailedDependency(t *testing.T) {
	w := newWorld(t)
	id := w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "b")
	b.needs(b.take(), "c")
	b.end(b.take(), job.Report{End: job.EndFailed, Cause: "checksum", Reason: "c.tar.gz"})
	if r := w.byBase("b"); r.State != job.Failed || r.Reason != "dependency c failed: checksum: c.tar.gz" {
		t.Errorf("b: %s %s", r.State, r.Reason)
	}
	w.want(id, job.Failed, job.CauseDependency, "dependency b failed: dependency: dependency c failed: checksum: c.tar.gz")
}

func TestCycle(t *testing.T) {
	w := newWorld(t)
	w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "b")
	b.needs(b.take(), "c")
	if state := b.needs(b.take(), "a"); state != job.Failed {
		t.Errorf("state %s", state)
	}
	if r := w.byBase("c"); r.Cause != job.CauseDependency || r.Reason != "dependency cycle: c → a → b → c" {
		t.Errorf("c: %s", r.Reason)
	}
	if r := w.byBase("a"); r.State != job.Failed {
		t.Errorf("a: %s", r.State)
	}
}

func TestNeedsItself(t *testing.T) {
	w := newWorld(t)
	id := w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "a")
	w.want(id, job.Failed, job.CauseDependency, "dependency cycle: a → a")
}

func TestDependencyThatDoesNotHelp(t *testing.T) {
	w := newWorld(t)
	id := w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "b")
	b.done(b.take())
	b.needs(b.take(), "b")
	w.want(id, job.Failed, job.CauseDependency, "b was built, but does not provide b>=1")
}

// TestDependencyOfAnotherGroup is waited for, not built again.
func TestDependencyOfAnotherGroup(t *testing.T) {
	w := newWorld(t)
	a, dep := w.one("a"), w.one("b")
	b := w.builder("b1")
	b.needs(b.take(), "b")
	task := b.take()
	if task.ID != dep {
		t.Errorf("took %s", task.Label())
	}
	b.done(task)
	b.done(b.take())
	w.want(a, job.Done, "", "")
}

func TestRightsOfDependencies(t *testing.T) {
	w := newWorld(t, func(o *hub.Options) {
		o.Allow = func(by job.Asker, repo, arch, base string) error {
			if base == "forbidden" {
				return errors.New("not allowed")
			}
			return nil
		}
	})
	id := w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "forbidden")
	w.want(id, job.Failed, job.CauseDependency, "forbidden: not allowed")
}

// TestBaseOfATar: which pkgbase it is shows late, and is held against the
// asker's rights then.
func TestBaseOfATar(t *testing.T) {
	w := newWorld(t, func(o *hub.Options) {
		o.Allow = func(job.Asker, string, string, string) error { return errors.New("not allowed to build it") }
	})
	id := w.one("")
	task := w.builder("b1").take()
	if err := task.Report(t.Context(), job.Report{Facts: job.Facts{Base: "foo"}}); !errors.Is(err, job.ErrStale) {
		t.Errorf("report: %v", err)
	}
	w.want(id, job.Failed, job.CausePackage, "not allowed to build it")
}

func TestAnotherBase(t *testing.T) {
	w := newWorld(t)
	id := w.one("foo")
	task := w.builder("b1").take()
	task.Report(t.Context(), job.Report{Facts: job.Facts{Base: "bar"}})
	w.want(id, job.Failed, job.CausePackage, "the PKGBUILD is of bar, not of foo")
}

// TestCancelTakesDependenciesAlong, but not those that others want.
func TestCancelTakesDependenciesAlong(t *testing.T) {
	w := newWorld(t)
	ids := w.submit("a", "x")
	b := w.builder("b1")
	b.needs(b.take(), "b", "c")
	b.needs(b.take(), "c")
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: ids[0].ID, By: job.Asker{Comment: "dev"}}); err != nil {
		t.Fatal(err)
	}
	for base, want := range map[string]job.State{"a": job.Cancelled, "b": job.Cancelled, "c": job.Queued, "x": job.Waiting} {
		if r := w.byBase(base); r.State != want {
			t.Errorf("%s is %s, want %s", base, r.State, want)
		}
	}
}

// TestRestartWhileWaiting: what waits is woken by what ends after a restart,
// and by what has ended before it.
func TestRestartWhileWaiting(t *testing.T) {
	w := newWorld(t)
	id := w.one("a")
	b := w.builder("b1")
	b.needs(b.take(), "b")
	w.stop()
	w.start()
	b.beat()
	b.done(b.take())
	w.want(id, job.Queued, "", "")
	b.done(b.take())
	w.want(id, job.Done, "", "")
}

// TestPublishAgain has the builder publish what it has kept.
func TestPublishAgain(t *testing.T) {
	w := newWorld(t)
	id := w.one("a")
	b := w.builder("b1")
	orders := make(chan *job.Record, 1)
	stop, err := b.Orders(func(o job.Order) error { orders <- o.Publish; return nil })
	if err != nil {
		t.Fatal(err)
	}
	b.end(b.take(), job.Report{End: job.EndFailed, Cause: "package", Reason: "refused", Kept: true})
	if _, err := w.client.Retry(t.Context(), job.Change{ID: id, Publish: true}); err != nil {
		t.Fatal(err)
	}
	task := b.Ordered(<-orders)
	b.beat(task)
	b.done(task)
	w.want(id, job.Done, "", "")

	other := w.one("b")
	b.end(b.take(), job.Report{End: job.EndFailed, Cause: "package", Reason: "refused", Kept: true})
	stop()
	if _, err := w.client.Retry(t.Context(), job.Change{ID: other, Publish: true}); !errors.Is(err, job.ErrBusy) {
		t.Errorf("without the builder: %v", err)
	}
	w.want(other, job.Failed, "package", "refused")
}

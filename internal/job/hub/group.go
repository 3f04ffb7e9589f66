package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"serene/internal/job"
)

// park makes r wait for jobs that build what it needs: ones of its group, ones
// that someone else has asked for, or new ones.
func (h *Hub) park(r *job.Record, needs []job.Need) error {
	if len(needs) == 0 {
		return h.handBack(r, "parked without a need")
	}
	r.Needs = slices.Clone(r.Needs)
	var waits []string
	for _, n := range needs {
		dep, err := h.provide(r, n)
		if err != nil {
			return h.finish(r, job.Failed, job.CauseDependency, err.Error())
		}
		n.Job = dep.ID
		r.Needs = append(r.Needs, n)
		waits = append(waits, fmt.Sprintf("%s (%s)", n.Base, dep.ID))
	}
	r.State, r.Phase, r.Seq = job.Waiting, "", 0
	r.Reason = "waits for " + strings.Join(waits, ", ")
	if err := h.note(r, r.Reason); err != nil {
		return err
	}
	if err := h.put(r); err != nil {
		return err
	}
	return h.wake(r) // one of them may have failed already
}

// provide finds or makes the job that builds n. Its error says why there can
// be none.
func (h *Hub) provide(r *job.Record, n job.Need) (*job.Record, error) {
	if n.Base == r.Base {
		return nil, fmt.Errorf("dependency cycle: %s → %s", r.Base, n.Base)
	}
	for _, had := range r.Needs {
		if had.Base == n.Base && h.state(had.Job) == job.Done {
			return nil, fmt.Errorf("%s was built, but does not provide %s", n.Base, n.For)
		}
	}
	dep := h.builds(r, n.Base)
	if dep == nil {
		return h.makeDependency(r, n)
	}
	if path := h.pathTo(dep, r, nil); path != nil {
		return nil, fmt.Errorf("dependency cycle: %s → %s", r.Base, strings.Join(path, " → "))
	}
	return dep, nil
}

// builds is the job that builds base for r: one of its group, over or not, or
// one of another group that is not over.
func (h *Hub) builds(r *job.Record, base string) (found *job.Record) {
	for _, other := range h.jobs {
		if other.Base != base || other.Repo != r.Repo || other.Arch != r.Arch {
			continue
		}
		if !other.State.Final() {
			return other
		}
		if other.Group == r.Group && other.State == job.Failed {
			found = other
		}
	}
	return found
}

func (h *Hub) makeDependency(r *job.Record, n job.Need) (*job.Record, error) {
	if r.Options.NoDeps {
		return nil, fmt.Errorf("%s is missing, and was not to be built", n.For)
	}
	if err := h.opt.Allow(r.By, r.Repo, r.Arch, n.Base); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Base, err)
	}
	now := time.Now().UTC()
	dep := &job.Record{
		ID: job.NewID(now), Group: r.Group, Base: n.Base, Repo: r.Repo, Arch: r.Arch,
		Source: job.Source{Kind: job.SourceAUR}, Options: job.Options{Network: r.Options.Network},
		By: r.By, NeededBy: r.ID, Created: now,
	}
	if err := h.enqueue(dep, ""); err != nil {
		return nil, err
	}
	return h.jobs[dep.ID], nil
}

// pathTo returns the pkgbases from a job, by what it waits for, to another, or
// nil if there is no such way.
func (h *Hub) pathTo(from, to *job.Record, seen []job.ID) []string {
	if from.ID == to.ID {
		return []string{to.Base}
	}
	if slices.Contains(seen, from.ID) || from.State != job.Waiting {
		return nil
	}
	seen = append(seen, from.ID)
	for _, n := range from.Needs {
		next := h.jobs[n.Job]
		if next == nil || next.State.Final() {
			continue
		}
		if path := h.pathTo(next, to, seen); path != nil {
			return append([]string{from.Base}, path...)
		}
	}
	return nil
}

// settle looks at the jobs that have waited for r, which is over.
func (h *Hub) settle(r *job.Record) error {
	for _, w := range h.unfinished() {
		waits := w.After == r.ID || slices.ContainsFunc(w.Needs, func(n job.Need) bool { return n.Job == r.ID })
		if w.State != job.Waiting || !waits {
			continue
		}
		if err := h.wake(w); err != nil {
			return err
		}
	}
	return nil
}

// wake queues a job that waits for nothing any more, and ends one that waits
// in vain.
func (h *Hub) wake(old *job.Record) error {
	for _, n := range old.Needs {
		dep, err := h.find(n.Job)
		if err != nil {
			return h.finish(old, job.Failed, job.CauseDependency, fmt.Sprintf("dependency %s: %v", n.Base, err))
		}
		if dep.State == job.Failed || dep.State == job.Cancelled {
			return h.finish(old, job.Failed, job.CauseDependency, "dependency "+n.Base+" "+ended(dep))
		}
		if dep.State != job.Done {
			return nil
		}
	}
	if old.After != "" && !h.state(old.After).Final() {
		return nil
	}
	r := *old
	r.After = ""
	return h.enqueue(&r, "")
}

// ended words how a job came to nothing.
func ended(r *job.Record) string {
	if r.State == job.Cancelled {
		return "was cancelled"
	}
	return "failed: " + r.Cause + ": " + r.Reason
}

// state is that of a job; one that is unknown counts as cancelled.
func (h *Hub) state(id job.ID) job.State {
	if r, err := h.find(id); err == nil {
		return r.State
	}
	return job.Cancelled
}

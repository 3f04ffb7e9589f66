package hub

import (
	"slices"
	"time"

	"serene/internal/job"
)

// maxJobs bounds one submission.
const maxJobs = 1000

// submit makes jobs, as a group. What is asked for a second time while the
// first is not over is the same job. What is built from another source while
// its pkgbase is being built waits for that to be over.
func (h *Hub) submit(s job.Submission) ([]job.Submitted, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(s.Jobs) == 0 || len(s.Jobs) > maxJobs {
		return nil, job.Refuse(job.ErrTooLarge, "%d jobs: accepts 1 to %d", len(s.Jobs), maxJobs)
	}
	for i := range s.Jobs {
		if err := h.check(&s.Jobs[i]); err != nil {
			return nil, err
		}
	}
	now := time.Now().UTC()
	group := s.Jobs[0].ID
	var all []job.Submitted
	for i := range s.Jobs {
		r, joined, err := h.submitOne(s.By, group, &s.Jobs[i], now)
		if err != nil {
			return nil, err
		}
		all = append(all, job.Submitted{Record: *r, Joined: joined})
	}
	return all, nil
}

func (h *Hub) check(s *job.Spec) error {
	if _, err := job.ParseID(string(s.ID)); err != nil {
		return job.Refuse(job.ErrConflict, "%v", err)
	}
	if _, err := h.find(s.ID); err == nil {
		return job.Refuse(job.ErrConflict, "there is a job %s", s.ID)
	}
	if !slices.Contains(h.opt.Arches, s.Arch) {
		return job.Refuse(job.ErrNotFound, "no repository has architecture %s", s.Arch)
	}
	return nil
}

func (h *Hub) submitOne(by job.Asker, group job.ID, s *job.Spec, now time.Time) (r *job.Record, joined bool, err error) {
	r = &job.Record{
		ID: s.ID, Group: group, Base: s.Base, State: job.Queued,
		Repo: s.Repo, Arch: s.Arch, Source: s.Source, Options: s.Options,
		By: by, Created: now,
	}
	for _, other := range h.unfinished() {
		if other.Same(s) {
			return other, true, h.dir.Drop(s.ID)
		}
		if s.Base != "" && other.Base == s.Base && other.Arch == s.Arch && other.Repo == s.Repo {
			r.After = other.ID // the last of them, in the end
		}
	}
	err = h.start(r)
	return h.jobs[r.ID], false, err
}

// start stores a new job, and queues it unless it waits for another.
func (h *Hub) start(r *job.Record) error {
	if r.After == "" {
		return h.enqueue(r, "")
	}
	r.State, r.Reason = job.Waiting, "waits for job "+string(r.After)+", which builds "+r.Base+" as well"
	return h.put(r)
}

// cancelJob ends a job at once. Its builder is told, and what it still says
// does not count.
func (h *Hub) cancelJob(c job.Change) (*job.Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := h.find(c.ID)
	switch {
	case err != nil:
		return nil, err
	case r.State.Final():
		return nil, job.Refuse(job.ErrConflict, "it is over: %s", r.State)
	case r.Publishing:
		return nil, job.Refuse(job.ErrConflict, "too late: its packages are being published")
	}
	if err := h.cancelOne(r, "by "+c.By.Name()); err != nil {
		return nil, err
	}
	return h.find(c.ID)
}

func (h *Hub) cancelOne(r *job.Record, why string) error {
	if err := h.finish(r, job.Cancelled, "", why); err != nil {
		return err
	}
	if r.State == job.Running {
		stop := job.Stop{Run: job.Run{Job: r.ID, Attempt: r.Attempt}, Why: "cancelled " + why}
		go h.tell(r, job.Order{Stop: &stop}) // if it does not arrive, the next heartbeat tells
	}
	return h.cancelUnneeded(r, why)
}

// cancelUnneeded cancels the jobs that were only made for r.
func (h *Hub) cancelUnneeded(r *job.Record, why string) error {
	for _, n := range r.Needs {
		dep := h.jobs[n.Job]
		if dep == nil || dep.NeededBy == "" || dep.State.Final() || dep.Publishing || h.waitedFor(dep) {
			continue
		}
		if err := h.cancelOne(dep, why+", with job "+string(r.ID)); err != nil {
			return err
		}
	}
	return nil
}

// retry takes a job up again that has come to nothing.
func (h *Hub) retry(c job.Change) (*job.Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := h.find(c.ID)
	if err != nil {
		return nil, err
	}
	if old.State != job.Failed && old.State != job.Cancelled {
		return nil, job.Refuse(job.ErrConflict, "it is %s", old.State)
	}
	if c.Publish {
		return h.publishAgain(old)
	}
	for _, other := range h.unfinished() {
		if other.Same(&job.Spec{Base: old.Base, Repo: old.Repo, Arch: old.Arch, Source: old.Source, Options: old.Options}) {
			return nil, job.Refuse(job.ErrConflict, "job %s does the same", other.ID)
		}
	}
	r := *old
	r.Cause, r.Needs, r.Facts, r.Tries, r.Kept, r.Ended = "", nil, job.Facts{}, 0, false, time.Time{}
	if r.Source.Kind != job.SourceAUR {
		r.Base = "" // it is what the PKGBUILD says now
	}
	if err := h.note(&r, "to be tried again, by "+c.By.Name()); err != nil {
		return nil, err
	}
	if err := h.enqueue(&r, ""); err != nil {
		return nil, err
	}
	return h.jobs[r.ID], nil
}

package hub

import (
	"fmt"
	"strings"
	"time"

	"serene/internal/job"
)

// claim makes a delivery of a message an attempt, if the job is to be had.
func (h *Hub) claim(key string, q job.Claim) (*job.Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.jobs[q.Job]
	if old == nil || old.State.Final() || old.Seq != q.Seq {
		return nil, job.Refuse(job.ErrNotFound, "job %s is not in the queue", q.Job)
	}
	b := h.builders[builderKey(key, q.Builder)]
	if b == nil {
		return nil, job.Refuse(job.ErrBusy, "a builder says what it is before it takes jobs")
	}
	if old.State == job.Running {
		return nil, job.Refuse(job.ErrBusy, "builder %s has job %s", old.Builder, old.ID)
	}
	r := *old
	r.Attempt++
	r.State, r.Phase, r.Reason, r.Started, r.Publishing = job.Running, "fetch", "", time.Now().UTC(), false
	r.Builder, r.BuilderID, r.BuilderKey = b.Name, b.ID, key
	var err error
	if r.LogBase, err = h.beginLog(&r, fmt.Sprintf("job %s, attempt %d, on builder %s", r.ID, r.Attempt, r.Builder)); err != nil {
		return nil, err
	}
	if err := h.put(&r); err != nil {
		return nil, err
	}
	h.opt.Log.Info("job is taken", "job", r.ID, "base", r.Base, "attempt", r.Attempt, "builder", r.Builder)
	return &r, nil
}

// current returns the record of an attempt that counts.
func (h *Hub) current(key string, q job.Run) (*job.Record, error) {
	r := h.jobs[q.Job]
	if r == nil || r.State != job.Running || r.Attempt != q.Attempt || r.BuilderKey != key {
		return nil, job.Refuse(job.ErrStale, "attempt %d at job %s does not count any more", q.Attempt, q.Job)
	}
	return r, nil
}

// report takes in what a builder says of an attempt.
func (h *Hub) report(key string, q job.Report) (job.Reply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := h.current(key, q.Run)
	if err != nil {
		return job.Reply{}, err
	}
	r := *old
	q.Phase, q.Cause, q.Reason = oneLine(q.Phase), oneLine(q.Cause), oneLine(q.Reason)
	if q.Phase != "" {
		r.Phase = q.Phase
	}
	r.Publishing = r.Publishing && q.End == ""
	if err := h.learn(&r, q.Facts); err != nil {
		return h.reply(&r, 0, h.finish(&r, job.Failed, job.CausePackage, err.Error()))
	}
	switch q.End {
	case job.EndDone:
		r.Published, r.Kept = q.Published, false
		err = h.finish(&r, job.Done, "", q.Reason)
	case job.EndFailed:
		r.Kept = q.Kept
		err = h.finish(&r, job.Failed, q.Cause, q.Reason)
	case job.EndHandBack:
		err = h.handBack(&r, "builder "+r.Builder+" has stopped")
	case job.EndTrouble:
		delay, err := h.hostTrouble(&r, q.Reason)
		return h.reply(&r, delay, err)
	case job.EndParked:
		err = h.park(&r, q.Needs)
	default:
		err = h.put(&r)
	}
	return h.reply(&r, 0, err)
}

// oneLine keeps what a builder says from being more than a line of a log.
func oneLine(s string) string {
	const most = 1000
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// reply says what has become of the job.
func (h *Hub) reply(r *job.Record, delay time.Duration, err error) (job.Reply, error) {
	if err != nil {
		return job.Reply{}, err
	}
	now, err := h.find(r.ID)
	if err != nil {
		return job.Reply{}, err
	}
	return job.Reply{State: now.State, Delay: delay}, nil
}

// learn takes facts over. A job whose pkgbase was not known gets it here, and
// is held against the rights of who asked.
func (h *Hub) learn(r *job.Record, f job.Facts) error {
	switch {
	case f.Base == "" || f.Base == r.Base:
	case r.Base != "":
		return fmt.Errorf("the PKGBUILD is of %s, not of %s", f.Base, r.Base)
	default:
		if err := h.opt.Allow(r.By, r.Repo, r.Arch, f.Base); err != nil {
			return err
		}
		r.Base = f.Base
	}
	k := &r.Facts
	for _, s := range []struct {
		known *string
		told  string
	}{
		{&k.Base, f.Base}, {&k.Version, f.Version}, {&k.URL, f.URL}, {&k.Commit, f.Commit},
		{&k.Image, f.Image}, {&k.PkgbuildSHA256, f.PkgbuildSHA256},
	} {
		if s.told != "" {
			*s.known = s.told
		}
	}
	if f.Packages != nil {
		k.Packages = f.Packages
	}
	return nil
}

// handBack puts a job back that nothing was wrong with. Its message is handed
// to the next builder by the queue itself.
func (h *Hub) handBack(r *job.Record, why string) error {
	if err := h.note(r, why); err != nil {
		return err
	}
	if r.Seq == 0 {
		return h.finish(r, job.Failed, job.CauseHost, "not published: "+why)
	}
	r.State, r.Phase, r.Reason = job.Queued, "", why
	return h.put(r)
}

// hostTrouble puts a job back, to be tried after a delay.
func (h *Hub) hostTrouble(r *job.Record, why string) (time.Duration, error) {
	delay, again := trouble(r)
	if r.Seq == 0 {
		r.Kept = true
		return 0, h.finish(r, job.Failed, job.CauseHost, "not published: "+why)
	}
	if !again {
		return 0, h.finish(r, job.Failed, job.CauseHost, fmt.Sprintf("given up after %d tries: %s", r.Tries, why))
	}
	if err := h.note(r, fmt.Sprintf("trouble of builder %s: %s; next try in %s", r.Builder, why, delay)); err != nil {
		return 0, err
	}
	r.State, r.Phase, r.Reason = job.Queued, "", why
	return delay, h.put(r)
}

// publish says whether the holder of a key may publish for a job.
func (h *Hub) publish(p job.Publication) (*job.Record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := h.current(p.Key, job.Run{Job: p.Job, Attempt: p.Attempt})
	if err != nil {
		return nil, err
	}
	if !p.Commit {
		return old, nil
	}
	r := *old
	r.Publishing = true
	return &r, h.put(&r)
}

// publishAgain has a builder publish what it has kept, as a new attempt that
// is in no queue: only that builder can do it.
func (h *Hub) publishAgain(old *job.Record) (*job.Record, error) {
	if !old.Kept {
		return nil, job.Refuse(job.ErrConflict, "no builder has kept its packages: retry it without --publish")
	}
	r := *old
	r.Attempt++
	r.State, r.Phase, r.Cause, r.Reason, r.Seq = job.Running, "publish", "", "", 0
	r.Started, r.Ended = time.Now().UTC(), time.Time{}
	var err error
	if r.LogBase, err = h.beginLog(&r, fmt.Sprintf("attempt %d: publish again, from builder %s", r.Attempt, r.Builder)); err != nil {
		return nil, err
	}
	if err := h.put(&r); err != nil {
		return nil, err
	}
	if err := h.tell(&r, job.Order{Publish: &r}); err != nil {
		reason := old.Reason
		if err := h.finish(&r, old.State, old.Cause, reason); err != nil {
			return nil, err
		}
		return nil, job.Refuse(job.ErrBusy, "builder %s, which has its packages, does not answer", old.Builder)
	}
	return h.jobs[r.ID], nil
}

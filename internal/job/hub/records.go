package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"serene/internal/job"
)

// maxTries is how often an attempt may come to nothing for no fault of the
// package before the job fails for good.
const maxTries = 6

// put stores a record. On error everything is as before.
func (h *Hub) put(r *job.Record) error {
	if err := h.dir.Write(r); err != nil {
		return err
	}
	h.jobs[r.ID] = r
	h.dir.Ring(r.ID)
	return nil
}

// find returns the record of a job, over or not.
func (h *Hub) find(id job.ID) (*job.Record, error) {
	if _, err := job.ParseID(string(id)); err != nil {
		return nil, job.Refuse(job.ErrNotFound, "%v", err)
	}
	if r := h.jobs[id]; r != nil {
		return r, nil
	}
	return h.dir.Read(id)
}

// unfinished lists the jobs that are not over, the oldest first.
func (h *Hub) unfinished() []*job.Record {
	all := slices.Collect(maps.Values(h.jobs))
	all = slices.DeleteFunc(all, func(r *job.Record) bool { return r.State.Final() })
	slices.SortFunc(all, func(a, b *job.Record) int {
		return 2*a.Created.Compare(b.Created) + compare(a.ID, b.ID)
	})
	return all
}

func compare(a, b job.ID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// enqueue puts r into the queue, in the place of the message it may have there
// already, and stores it as queued, for a reason or "".
func (h *Hub) enqueue(old *job.Record, reason string) error {
	h.dequeue(old) // after a crash here, the job is missed in the queue at start
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	r := *old
	r.State, r.Phase, r.Reason, r.Seq = job.Queued, "", reason, 0
	ack, err := h.js.Publish(ctx, job.JobSubject(old.Arch), []byte(old.ID))
	if err == nil {
		r.Seq = ack.Sequence
	} else {
		err = fmt.Errorf("queue job %s: %w", old.ID, err) // look tries again
	}
	return errors.Join(h.put(&r), err)
}

// dequeue takes the message of r out of the queue. One that stays behind is
// recognised when it is claimed. A queue that was lost counts from 1 again, so
// the number alone does not say that a message is the job's.
func (h *Hub) dequeue(r *job.Record) {
	if r.Seq == 0 || !h.inQueue(r) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	_ = h.stream.DeleteMsg(ctx, r.Seq)
}

// finish ends a job, and settles what has waited for it.
func (h *Hub) finish(old *job.Record, state job.State, cause, reason string) error {
	r := *old
	r.State, r.Phase, r.Cause, r.Reason = state, "", cause, reason
	r.Ended, r.Seq, r.Publishing = time.Now().UTC(), 0, false
	// The verdict stands in the log before the record says that it is whole.
	if err := h.conclude(&r); err != nil {
		return err
	}
	if err := h.put(&r); err != nil {
		return err
	}
	h.dequeue(old)
	h.opt.Log.Info("job is over", "job", r.ID, "base", r.Base, "state", r.State, "cause", r.Cause, "reason", r.Reason)
	err := h.settle(&r)
	h.forget(r.Group)
	return err
}

// forget drops a group that is over from memory.
func (h *Hub) forget(group job.ID) {
	for _, r := range h.jobs {
		if r.Group == group && !r.State.Final() || h.waitedFor(r) && r.Group == group {
			return
		}
	}
	maps.DeleteFunc(h.jobs, func(_ job.ID, r *job.Record) bool { return r.Group == group })
}

// waitedFor reports whether an unfinished job has r among its needs.
func (h *Hub) waitedFor(r *job.Record) bool {
	for _, w := range h.jobs {
		if w.State.Final() {
			continue
		}
		if w.After == r.ID || slices.ContainsFunc(w.Needs, func(n job.Need) bool { return n.Job == r.ID }) {
			return true
		}
	}
	return false
}

// trouble counts an attempt that came to nothing for no fault of the package,
// and returns how long to wait before the next, or false when there were too
// many.
func trouble(r *job.Record) (time.Duration, bool) {
	r.Tries++
	return min(5*time.Second<<(r.Tries-1), 5*time.Minute), r.Tries < maxTries
}

// lose takes a job from a builder that is gone.
func (h *Hub) lose(old *job.Record, why string) error {
	r := *old
	if r.Seq == 0 { // it was only publishing what it had made before
		r.Kept = true
		return h.finish(&r, job.Failed, job.CauseHost, "not published: "+why)
	}
	_, again := trouble(&r)
	if !again {
		return h.finish(&r, job.Failed, job.CauseHost, fmt.Sprintf("given up after %d tries: %s", r.Tries, why))
	}
	r.Publishing = false
	if err := h.note(&r, why+": to be taken up again"); err != nil {
		return err
	}
	h.opt.Log.Warn("job was lost", "job", r.ID, "builder", r.Builder, "why", why)
	return h.enqueue(&r, why)
}

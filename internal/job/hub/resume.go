package hub

import (
	"context"
	"fmt"
	"time"

	"serene/internal/job"
)

// takeUp reads the records. A builder that had a job is given the time of a
// lease to be heard of again: most likely it was only this process that ended.
func (h *Hub) takeUp() error {
	all, err := h.dir.List()
	if err != nil {
		h.opt.Log.Error("records of jobs", "err", err) // of the others nothing is lost
	}
	over := make(map[job.ID]bool)
	for _, r := range all {
		over[r.Group] = over[r.Group] || !r.State.Final()
	}
	for _, r := range all {
		if over[r.Group] {
			h.jobs[r.ID] = r
		}
	}
	for _, r := range h.unfinished() {
		if err := h.resume(r); err != nil {
			return fmt.Errorf("take up job %s: %w", r.ID, err)
		}
	}
	return nil
}

// resume makes sure that something will happen to r.
func (h *Hub) resume(r *job.Record) error {
	switch r.State {
	case job.Waiting:
		if r.Seq == 0 { // for other jobs: what waits for room is in the queue
			return h.wake(r)
		}
	case job.Running:
		id := builderKey(r.BuilderKey, r.BuilderID)
		h.builders[id] = &job.Builder{ID: r.BuilderID, Key: r.BuilderKey, Name: r.Builder, Seen: time.Now()}
		if r.Seq == 0 {
			return nil // it only publishes
		}
	case job.Held:
		return nil
	}
	if h.inQueue(r) {
		return nil
	}
	if r.State == job.Running {
		return h.lose(r, "the queue was lost")
	}
	return h.enqueue(r, "")
}

// inQueue reports whether the message of r is there.
func (h *Hub) inQueue(r *job.Record) bool {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	m, err := h.stream.GetMsg(ctx, r.Seq)
	return r.Seq != 0 && err == nil && string(m.Data) == string(r.ID)
}

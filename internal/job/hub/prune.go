package hub

import (
	"context"
	"slices"
	"time"

	"serene/internal/job"
)

// pruneEvery is how often old jobs are looked for.
const pruneEvery = 24 * time.Hour

// prune removes what nobody needs any more, at once and then every day.
func (h *Hub) prune(ctx context.Context) {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		if err := h.dir.Sweep(time.Now()); err != nil {
			h.opt.Log.Error("sweep of jobs", "err", err)
		}
		h.removeOld(ctx, time.Now())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// removeOld removes the jobs that ended too long ago, each by itself: whoever
// asks the hub for something waits for one at most.
func (h *Hub) removeOld(ctx context.Context, now time.Time) {
	all, err := h.dir.List()
	if err != nil {
		h.opt.Log.Error("records of jobs", "err", err) // the others are there
	}
	count := 0
	for _, r := range old(all, now.Add(-h.opt.Keep)) {
		if ctx.Err() != nil {
			return
		}
		removed, err := h.remove(r)
		if err != nil {
			h.opt.Log.Error("remove an old job", "job", r.ID, "err", err)
		}
		if removed {
			count++
		}
	}
	if count > 0 {
		h.opt.Log.Info("removed old jobs", "jobs", count)
	}
}

// old lists those of all jobs, the oldest first, that ended before a time. The
// last one of each package base is not among them.
func old(all []*job.Record, before time.Time) []*job.Record {
	type target struct{ base, repo, arch string }
	last := make(map[target]job.ID)
	for _, r := range all {
		last[target{r.Base, r.Repo, r.Arch}] = r.ID
	}
	return slices.DeleteFunc(all, func(r *job.Record) bool {
		isLast := r.Base != "" && last[target{r.Base, r.Repo, r.Arch}] == r.ID
		return isLast || !r.State.Final() || !r.Ended.Before(before)
	})
}

// remove removes a job, unless it was taken up again since it was read, or one
// that is not over needs it.
func (h *Hub) remove(r *job.Record) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := h.find(r.ID)
	if err != nil {
		return false, err
	}
	if !now.State.Final() || !now.Ended.Equal(r.Ended) || h.groupLives(r.Group) || h.waitedFor(r) {
		return false, nil
	}
	delete(h.jobs, r.ID) // there while another group waited for it
	return true, h.dir.Remove(r.ID)
}

// groupLives reports whether a job of the group is not over.
func (h *Hub) groupLives(group job.ID) bool {
	return slices.ContainsFunc(h.unfinished(), func(r *job.Record) bool { return r.Group == group })
}

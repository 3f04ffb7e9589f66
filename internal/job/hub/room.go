package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"serene/internal/job"
)

// shortage says that no builder for an architecture takes jobs.
type shortage struct {
	of     string // who lacks what
	reason string // the same for people, with figures
}

// lookForRoom finds the architectures whose jobs have to wait. The figures of a
// shortage stay those that it began with: they are in the records of all jobs
// that wait for its end, and those are written when something changes.
func (h *Hub) lookForRoom(now time.Time) {
	for _, arch := range h.opt.Arches {
		s := h.shortageOf(arch, now)
		if s.of != h.short[arch].of {
			h.short[arch] = s
		}
	}
}

// shortageOf is nothing where a builder has room, or where there is none: that
// a job waits for a builder shows by its being queued.
func (h *Hub) shortageOf(arch string, now time.Time) shortage {
	var of, reasons []string
	for _, b := range h.sortedBuilders() {
		if now.Sub(b.Seen) > h.opt.Lease || !slices.Contains(b.Arches, arch) {
			continue
		}
		if b.Lacks == "" {
			return shortage{}
		}
		of = append(of, builderKey(b.Key, b.ID)+" "+string(b.Lacks))
		reasons = append(reasons, fmt.Sprintf("for %s: builder %s: %s", b.Lacks, b.Name, b.Note))
	}
	return shortage{strings.Join(of, ", "), oneLine(strings.Join(reasons, "; "))}
}

// explain makes a job in the queue a waiting one while no builder has room for
// it. It keeps its message, by which the first that has takes it.
func (h *Hub) explain(old *job.Record) error {
	reason := h.short[old.Arch].reason
	r := *old
	switch {
	case reason == "" && r.State == job.Waiting:
		r.State, r.Reason = job.Queued, ""
	case reason != "" && (r.State != job.Waiting || r.Reason != reason):
		r.State, r.Reason = job.Waiting, reason
	default:
		return nil
	}
	return h.put(&r)
}

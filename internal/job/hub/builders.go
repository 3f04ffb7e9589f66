package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"serene/internal/job"
)

const (
	// claimGrace is how old an attempt must be for a heartbeat that does not
	// list it to mean that its builder never heard that it has it.
	claimGrace = 10 * time.Second
	// rememberBuilder is how long one that is gone is still listed.
	rememberBuilder = 24 * time.Hour
	// tellWithin is how long a builder may take to answer an order.
	tellWithin = 3 * time.Second
)

// builderKey tells builders apart: two may use one key, and ids are their own
// claim.
func builderKey(key, id string) string { return key + " " + id }

// beat takes in that a builder lives, and returns what it must give up.
func (h *Hub) beat(key string, b job.Builder) ([]job.Stop, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := job.CheckKey(b.ID); err != nil {
		return nil, job.Refuse(job.ErrConflict, "builder id: %v", err)
	}
	b.Key, b.Seen = key, time.Now().UTC()
	before := h.builders[builderKey(key, b.ID)]
	h.builders[builderKey(key, b.ID)] = &b
	reborn := before != nil && before.Instance != "" && before.Instance != b.Instance
	for _, r := range h.runningOn(&b) {
		if err := h.missed(r, &b, reborn); err != nil {
			return nil, err
		}
	}
	var stop []job.Stop
	for _, run := range b.Jobs {
		if _, err := h.current(key, run); err != nil {
			stop = append(stop, job.Stop{Run: run, Why: "the job was cancelled, or is another builder's now"})
		}
	}
	return stop, nil
}

// missed takes r away from b if b does not work on it: because it was started
// anew, or never got to know of it.
func (h *Hub) missed(r *job.Record, b *job.Builder, reborn bool) error {
	works := slices.Contains(b.Jobs, job.Run{Job: r.ID, Attempt: r.Attempt})
	switch {
	case works:
		return nil
	case reborn:
		return h.lose(r, "builder "+b.Name+" was started anew")
	case time.Since(r.Started) > claimGrace:
		return h.lose(r, "builder "+b.Name+" does not work on it")
	}
	return nil
}

func (h *Hub) runningOn(b *job.Builder) []*job.Record {
	return slices.DeleteFunc(h.unfinished(), func(r *job.Record) bool {
		return r.State != job.Running || r.BuilderKey != b.Key || r.BuilderID != b.ID
	})
}

func (h *Hub) listBuilders() []job.Builder {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := []job.Builder{}
	for _, b := range h.sortedBuilders() {
		if b.Instance == "" {
			continue // it has not been heard of since the start
		}
		now := *b
		now.Jobs = nil // as they are here, not as they were at the heartbeat
		for _, r := range h.runningOn(b) {
			now.Jobs = append(now.Jobs, job.Run{Job: r.ID, Attempt: r.Attempt})
		}
		all = append(all, now)
	}
	return all
}

func (h *Hub) sortedBuilders() []*job.Builder {
	return slices.SortedFunc(maps.Values(h.builders), func(a, b *job.Builder) int {
		return strings.Compare(a.Name+a.ID, b.Name+b.ID)
	})
}

// tell asks something of the builder that has r.
func (h *Hub) tell(r *job.Record, o job.Order) error {
	ctx, cancel := context.WithTimeout(context.Background(), tellWithin)
	defer cancel()
	_, err := job.Ask[struct{}](ctx, h.nc, job.TellSubject(r.BuilderKey, r.BuilderID), o)
	return err
}

// tick looks after what nobody asks for.
func (h *Hub) tick(ctx context.Context) {
	t := time.NewTicker(h.opt.Lease / 6)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := h.look(time.Now()); err != nil {
				h.opt.Log.Error("job queue", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// look takes jobs from builders that are silent, and says of queued jobs what
// keeps them.
func (h *Hub) look(now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lookForRoom(now)
	for _, r := range h.unfinished() {
		b := h.builders[builderKey(r.BuilderKey, r.BuilderID)]
		var err error
		switch {
		case r.State == job.Running && (b == nil || now.Sub(b.Seen) > h.opt.Lease):
			err = h.lose(r, fmt.Sprintf("builder %s was not heard of for %s", r.Builder, h.opt.Lease))
		case r.State == job.Queued && r.Seq == 0:
			err = h.enqueue(r, r.Reason) // NATS was not there when it was tried first
		case r.Seq != 0 && r.State != job.Running:
			err = h.explain(r)
		}
		if err != nil {
			return err
		}
	}
	maps.DeleteFunc(h.builders, func(_ string, b *job.Builder) bool { return now.Sub(b.Seen) > rememberBuilder })
	return nil
}

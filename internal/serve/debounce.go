package serve

import (
	"context"
	"time"
)

// pace says how soon after a refresh the next one may start.
type pace struct {
	debounce time.Duration // quiet time after a refresh in which arrivals gather
	maxDelay time.Duration // the longest an arrival is made to wait for others
}

// until returns when a refresh for something that arrived at first may start,
// if the last one asks for quiet until quiet. The zero quiet is no last one.
func (p pace) until(first, quiet time.Time) time.Time {
	if latest := first.Add(p.maxDelay); latest.Before(quiet) {
		return latest
	}
	return quiet
}

// hints carries the news that the inbox may hold something. Only the oldest
// piece not yet taken is kept, with the time it arrived: one refresh sees
// everything that arrived before it started.
type hints chan time.Time

func newHints() hints { return make(hints, 1) }

// give never blocks.
func (h hints) give() {
	select {
	case h <- time.Now():
	default:
	}
}

// forget drops what has arrived, because what it is about is looked at next.
func (h hints) forget() {
	select {
	case <-h:
	default:
	}
}

// sleep waits until t and reports whether ctx lasted that long.
func sleep(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

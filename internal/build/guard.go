package build

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// tick is how often a guard looks. A process that fills a fast disk writes
// about a gigabyte in that time.
const tick = time.Second

// guard ends a run that takes more than its share. The kernel enforces most
// limits; these are the ones that nobody else does, or that would leave a build
// stuck rather than ended.
type guard struct {
	engine Engine
	c      Container
	limits Limits
	out    *output

	full     int       // looks in a row that found every process taken
	nextDisk time.Time // measuring it is dear
}

// fullLooks is how many looks in a row must find no process left: a build that
// only comes close for a moment goes on.
const fullLooks = 3

// watch looks until ctx ends, and calls end with the reason when the run has to.
func (g *guard) watch(ctx context.Context, end context.CancelCauseFunc) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if err := g.look(ctx, now); err != nil {
				end(err)
				return
			}
		}
	}
}

func (g *guard) look(ctx context.Context, now time.Time) error {
	if err := g.printed(now); err != nil {
		return err
	}
	start := time.Now()
	disk := !start.Before(g.nextDisk)
	u, err := g.engine.Usage(ctx, g.c, disk)
	if err != nil {
		return nil // the step itself will tell, if that means anything
	}
	if disk {
		// At most a twentieth of the time goes into walking files.
		g.nextDisk = start.Add(20 * time.Since(start))
	}
	return g.taken(u)
}

func (g *guard) printed(now time.Time) error {
	last, total := g.out.seen()
	switch {
	case g.limits.Silence > 0 && now.Sub(last) >= g.limits.Silence:
		return &Failure{CauseSilence, fmt.Sprintf("nothing printed for %s", g.limits.Silence)}
	case g.limits.Output > 0 && total > g.limits.Output:
		return &Failure{CauseLog, fmt.Sprintf("printed more than %s", size(g.limits.Output))}
	}
	return nil
}

// ErrNoSpace is the machine's trouble: the job is within its own limit.
var ErrNoSpace = errors.New("no space left for containers")

func (u Usage) noSpace(l Limits) bool { return u.Free >= 0 && u.Free < l.MinFree }

func (g *guard) taken(u Usage) error {
	l := g.limits
	if l.Disk > 0 && u.Disk > l.Disk {
		return &Failure{CauseDisk, fmt.Sprintf("more than %s of disk", size(l.Disk))}
	}
	if u.noSpace(l) {
		return ErrNoSpace
	}
	if g.full++; l.Pids == 0 || u.Pids < l.Pids {
		g.full = 0
	}
	if g.full >= fullLooks {
		return &Failure{CausePids, fmt.Sprintf("more than %d processes", l.Pids)}
	}
	return nil
}

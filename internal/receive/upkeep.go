package receive

import (
	"context"
	"fmt"

	"serene/internal/repo"
)

// gc removes what nobody needs any more.
func gc(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	return c.change(ctx, func(tx *repo.Tx, _ string) error {
		tx.Collect(c.Keep, c.flags.on("dry-run"))
		return nil
	})
}

// doctor checks everything that is published, and with --repair mends what can
// be.
func doctor(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	if !c.by.Rights.Packages.all || !c.by.Rights.Repos.all {
		return c.denied("everything: this key is for a part only")
	}
	if c.flags.on("repair") {
		if !c.by.Rights.Verbs.has(groupAll) {
			return c.denied("published state")
		}
		repair := func(tx *repo.Tx, _ string) error { tx.Repair(); return nil }
		if err := c.change(ctx, repair); err != nil {
			return err
		}
	}
	problems, err := c.Store.Doctor(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if err := c.emit(p, p.String()+"\n"); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return refuse(errFailed, "%d problems; --repair mends what can be", len(problems))
	}
	return nil
}

// emitUpkeep prints what a collection removed and what a repair found.
func (c *call) emitUpkeep(o *repo.Outcome) error {
	for _, g := range o.Garbage {
		if err := c.emit(g, fmt.Sprintf("%s %s: %s\n", formatBytes(g.Bytes), g.Path, g.Why)); err != nil {
			return err
		}
	}
	for _, p := range o.Problems {
		c.say("repaired where possible: %s", p)
	}
	return nil
}

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

// resign takes the next step of replacing the signing key.
func resign(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	if !c.by.Rights.Packages.all || !c.by.Rights.Repos.all {
		return c.denied("everything: this key is for a part only")
	}
	if c.flags.on("announce") && c.flags.on("packages") {
		return c.misused("--announce signs nothing")
	}
	return c.change(ctx, func(tx *repo.Tx, _ string) error {
		if c.flags.on("announce") {
			tx.Announce()
		} else {
			tx.Resign(c.flags.on("packages"))
		}
		return nil
	})
}

// emitResigned tells which key signs and what it signed.
func (c *call) emitResigned(r *repo.Resigned) error {
	text := fmt.Sprintf("signed %d databases and %d packages with %s\n", r.Databases, r.Packages, r.Key)
	if r.Next != "" {
		text = fmt.Sprintf("announced %s; %s still signs\n", r.Next, r.Key)
		c.say("once every client trusts it (setup says how), resign signs with it")
	}
	return c.emit(r, text)
}

// emitUpkeep prints what a collection removed, what a repair found and what was
// signed again.
func (c *call) emitUpkeep(o *repo.Outcome) error {
	for _, g := range o.Garbage {
		if err := c.emit(g, fmt.Sprintf("%s %s: %s\n", formatBytes(g.Bytes), g.Path, g.Why)); err != nil {
			return err
		}
	}
	for _, p := range o.Problems {
		c.say("repaired where possible: %s", p)
	}
	if o.Resigned != nil {
		return c.emitResigned(o.Resigned)
	}
	return nil
}

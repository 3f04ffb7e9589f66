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
	if err := c.mayAll("looks at"); err != nil {
		return err
	}
	if c.flags.on("repair") {
		if !c.mayRepair() {
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
		return refuse(errFailed, "problems: %d, %s", len(problems), c.mendable(problems))
	}
	return nil
}

// mayAll asks whether the caller's rights have no limit but in verbs, as what
// concerns the whole state needs.
func (c *call) mayAll(what string) error {
	if r := c.by.Rights; r.Repos.all && r.Packages.all && r.Arches.all {
		return nil
	}
	return refuse(repo.ErrDenied, "not allowed: it %s every repository, package and architecture; %s", what, c.by.has())
}

// mendable says what the caller can do about problems.
func (c *call) mendable(problems []repo.Problem) string {
	n := 0
	for _, p := range problems {
		if p.Repair != "" {
			n++
		}
	}
	switch {
	case n == 0:
		return "none of which doctor can mend"
	case !c.mayRepair():
		return fmt.Sprintf("%d of which --repair mends, by a key for all verbs", n)
	}
	return fmt.Sprintf("%d of which --repair mends", n)
}

func (c *call) mayRepair() bool { return c.by.Rights.Verbs.has(groupAll) }

// resign takes the next step of replacing the signing key.
func resign(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	if err := c.mayAll("signs"); err != nil {
		return err
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

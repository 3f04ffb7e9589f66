package receive

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// change begins a transaction in the repository the flags name, has fill say
// what is asked for, and waits for what becomes of it.
func (c *call) change(ctx context.Context, fill func(tx *repo.Tx, target string) error) error {
	target, err := c.target()
	if err != nil {
		return err
	}
	by := repo.Actor{Key: c.by.Key, Comment: c.by.Comment, Verb: c.verb.name}
	tx, err := c.Store.Begin(by, repo.TxOptions{Repo: target, Downgrade: c.flags.on("downgrade")})
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := fill(tx, target); err != nil {
		return err
	}
	return c.submit(ctx, tx)
}

// rollback goes back to an earlier generation, or to an earlier version of one
// package.
func rollback(ctx context.Context, c *call) error {
	c.subject = strings.Join(c.args, " ")
	return c.change(ctx, func(tx *repo.Tx, target string) error {
		switch len(c.args) {
		case 1:
			gen, err := strconv.ParseInt(c.args[0], 10, 64)
			if err != nil || gen <= 0 {
				return c.misused("GEN is a number of history, or give NAME VERSION")
			}
			if !c.mayChangeAll(target) {
				return c.denied("all of " + target)
			}
			tx.RollbackTo(gen)
		case 2:
			if err := c.mayRemove(target, c.args[0]); err != nil {
				return err
			}
			tx.RollbackPackage(c.args[0], alpm.Version(c.args[1]))
		default:
			return c.misused("no GEN given")
		}
		if c.flags.on("hold") {
			tx.Hold(c.flags.value("hold"))
		}
		return nil
	})
}

// mayChangeAll asks whether the caller may change every package of a repository,
// in each of its databases.
func (c *call) mayChangeAll(target string) bool {
	spec, _ := c.Store.Spec(target)
	return c.by.Rights.Packages.all && !slices.ContainsFunc(spec.Arches, func(arch string) bool {
		return !c.may(access{repo: target, arch: arch})
	})
}

// maxWhy is the longest reason for a hold, in bytes.
const maxWhy = 500

// hold keeps new versions of a package out.
func hold(ctx context.Context, c *call) error {
	if len(c.args) < 2 {
		return c.misused("a hold needs NAME and WHY")
	}
	name, why := c.args[0], strings.Join(c.args[1:], " ")
	c.subject = name
	if strings.TrimSpace(why) == "" || len(why) > maxWhy {
		return c.misused("WHY is a reason, of 500 bytes at most")
	}
	if strings.ContainsFunc(why, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return c.misused("WHY is one line")
	}
	return c.change(ctx, func(tx *repo.Tx, target string) error {
		tx.Hold(why, name)
		return c.mayRemove(target, name)
	})
}

// unhold ends holds.
func unhold(ctx context.Context, c *call) error {
	return c.eachName(ctx, func(tx *repo.Tx) error {
		tx.Unhold(c.args...)
		return nil
	})
}

// remove takes packages out of every database of a repository.
func remove(ctx context.Context, c *call) error {
	return c.eachName(ctx, func(tx *repo.Tx) error { return tx.Remove(c.args...) })
}

// eachName is change for a verb whose operands are names of packages that the
// caller must be allowed to take out.
func (c *call) eachName(ctx context.Context, fill func(*repo.Tx) error) error {
	if len(c.args) == 0 {
		return c.misused("no NAME given")
	}
	c.subject = strings.Join(c.args, " ")
	return c.change(ctx, func(tx *repo.Tx, target string) error {
		for _, name := range c.args {
			if err := c.mayRemove(target, name); err != nil {
				return err
			}
		}
		return fill(tx)
	})
}

// promote moves packages from one repository to another.
func promote(ctx context.Context, c *call) error {
	from, to := c.flags.value("from"), c.flags.value("to")
	if len(c.args) == 0 || from == "" || to == "" {
		return c.misused("it needs NAME, --from and --to")
	}
	c.flags["repo"] = []string{to}
	return c.eachName(ctx, func(tx *repo.Tx) error {
		if !c.may(access{repo: from}) {
			return refuse(repo.ErrDenied, "not allowed in %s: %s", from, c.by.has())
		}
		for _, name := range c.args {
			if err := c.mayRemove(from, name); err != nil {
				return err
			}
		}
		tx.Promote(from, c.args...)
		return nil
	})
}

// history lists the changes to a repository, or those that touched a package.
func history(_ context.Context, c *call) error {
	if len(c.args) > 1 {
		return c.misused("one NAME at a time")
	}
	spec, err := c.source()
	if err != nil {
		return err
	}
	var failed error
	err = c.Store.History(spec.Name, func(rec *repo.Record) {
		rec = c.visible(rec)
		if failed == nil && rec != nil {
			failed = c.emit(rec, recordLine(rec))
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// visible is rec without what the caller may not see or did not ask for, nil
// when nothing is left of what it had.
func (c *call) visible(rec *repo.Record) *repo.Record {
	hidden := func(it repo.JournalItem) bool {
		return !c.may(access{arch: it.In, base: it.Base, name: it.Name}) ||
			len(c.args) == 1 && it.Name != c.args[0] && it.Base != c.args[0]
	}
	left := *rec
	left.Add = slices.DeleteFunc(slices.Clone(rec.Add), hidden)
	left.Remove = slices.DeleteFunc(slices.Clone(rec.Remove), hidden)
	if len(left.Add)+len(left.Remove) > 0 {
		return &left
	}
	if whole := len(rec.Add)+len(rec.Remove) == 0; whole && len(c.args) == 0 && c.by.Rights.Packages.all {
		return rec
	}
	return nil
}

// recordLine is a record as a person reads it: what came, what went.
func recordLine(rec *repo.Record) string {
	var b strings.Builder
	who := rec.Comment
	if who == "" {
		who = rec.Key
	}
	fmt.Fprintf(&b, "gen %d %s %s", rec.Gen, rec.Time.UTC().Format(time.RFC3339), rec.Verb)
	if who != "" {
		fmt.Fprintf(&b, " by %s", who)
	}
	for _, it := range rec.Add {
		fmt.Fprintf(&b, " +%s/%s %s", it.In, it.Name, it.Version)
	}
	for _, it := range rec.Remove {
		fmt.Fprintf(&b, " -%s/%s %s", it.In, it.Name, it.Version)
	}
	for name, h := range rec.Hold {
		fmt.Fprintf(&b, " held %s: %s;", name, h.Why)
	}
	for _, name := range rec.Unhold {
		fmt.Fprintf(&b, " unheld %s", name)
	}
	return oneLine(b.String()) + "\n"
}

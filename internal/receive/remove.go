package receive

import (
	"context"
	"strings"

	"serene/internal/repo"
)

// remove takes packages out of every database of a repository.
func remove(ctx context.Context, c *call) error {
	if len(c.args) == 0 {
		return c.misused("no NAME given")
	}
	c.subject = strings.Join(c.args, " ")
	target, err := c.target()
	if err != nil {
		return err
	}
	for _, name := range c.args {
		if err := c.mayRemove(target, name); err != nil {
			return err
		}
	}
	by := repo.Actor{Key: c.by.Key, Comment: c.by.Comment, Verb: c.verb.name}
	tx, err := c.Store.Begin(by, repo.TxOptions{Repo: target})
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := tx.Remove(c.args...); err != nil {
		return err
	}
	return c.submit(ctx, tx)
}

// mayRemove asks whether the caller may take the package called name out of
// each database it is in. One that is in none is asked about by name, so that
// the answer does not tell whether it exists.
func (c *call) mayRemove(target, name string) error {
	short := name
	if repo.IsDebug(target) {
		short = strings.TrimSuffix(name, repo.DebugSuffix)
	}
	if !c.may(access{repo: target, name: short}) {
		return c.denied(name)
	}
	spec, _ := c.Store.Spec(target)
	for _, arch := range spec.Arches {
		v, err := c.Store.View(target, arch)
		if err != nil {
			return err
		}
		if e := v.Find(name); e != nil && !c.mayFind(v, e) {
			return c.denied(name)
		}
	}
	return nil
}

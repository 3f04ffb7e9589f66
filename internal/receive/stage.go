package receive

import (
	"context"
	"fmt"
	"slices"

	"serene/internal/repo"
)

// stageURL is where one database of a staged set is published to whoever knows
// its name.
type stageURL struct {
	Stage string `json:"stage"`
	Repo  string `json:"repo"`
	Arch  string `json:"arch"`
	URL   string `json:"url"`
}

// emitStage tells how to try what was staged, and how that ends.
func (c *call) emitStage(o *repo.Outcome) error {
	var told []stageURL
	for _, r := range o.Receipts {
		u := stageURL{o.Stage, r.Repo, r.Arch, fmt.Sprintf("%s/stage/%s/%s/%s", c.URL, o.Stage, r.Repo, r.Arch)}
		if slices.Contains(told, u) {
			continue
		}
		told = append(told, u)
		if err := c.emit(u, fmt.Sprintf("[%s] Server = %s\n", u.Repo, u.URL)); err != nil {
			return err
		}
	}
	c.say("ssh HOST publish %s publishes it, drop %s forgets it", o.Stage, o.Stage)
	return nil
}

// publish publishes a staged set.
func publish(ctx context.Context, c *call) error {
	return c.unstage(ctx, func(tx *repo.Tx, token string) { tx.Publish(token) })
}

// drop forgets a staged set.
func drop(ctx context.Context, c *call) error {
	return c.unstage(ctx, func(tx *repo.Tx, token string) { tx.Drop(token) })
}

// unstage ends a staged set that the caller may change all packages of.
func (c *call) unstage(ctx context.Context, end func(*repo.Tx, string)) error {
	token, err := c.oneOperand("STAGE")
	if err != nil {
		return err
	}
	set, err := c.Store.StagedSet(token)
	if err != nil {
		return err
	}
	c.flags["repo"] = []string{set.Repo}
	return c.change(ctx, func(tx *repo.Tx, target string) error {
		for _, p := range set.Packages {
			if !c.may(access{repo: target, base: p.Info.Base, name: p.Info.Name}) {
				return c.denied(p.Info.Name)
			}
		}
		end(tx, token)
		return nil
	})
}

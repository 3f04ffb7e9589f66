package receive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"serene/internal/job"
	"serene/internal/repo"
)

// jobRow is one job, as --json prints it.
type jobRow struct {
	ID      job.ID     `json:"id"`
	Base    string     `json:"pkgbase"`
	State   job.State  `json:"state"`
	Cause   string     `json:"cause"`
	Reason  string     `json:"reason,omitempty"`
	Phase   string     `json:"phase,omitempty"`
	Version string     `json:"version,omitempty"`
	Repo    string     `json:"repo"`
	Arch    string     `json:"arch"`
	Source  job.Source `json:"source"`
	Commit  string     `json:"commit,omitempty"`
	Builder string     `json:"builder,omitempty"`
	Attempt int64      `json:"attempt"`
	Group   job.ID     `json:"group"`
	Needs   []job.Need `json:"needs,omitempty"`
	Key     string     `json:"key"` // that asked
	Comment string     `json:"comment,omitempty"`
	Created time.Time  `json:"created"`
	Started time.Time  `json:"started,omitzero"`
	Ended   time.Time  `json:"ended,omitzero"`
	Kept    bool       `json:"kept,omitempty"` // retry --publish would publish what it made
}

func rowOf(r *job.Record) jobRow {
	return jobRow{
		ID: r.ID, Base: r.Base, State: r.State, Cause: r.Cause, Reason: r.Reason, Phase: r.Phase,
		Version: r.Facts.Version, Repo: r.Repo, Arch: r.Arch, Source: r.Source, Commit: r.Facts.Commit,
		Builder: r.Builder, Attempt: r.Attempt, Group: r.Group, Needs: r.Needs,
		Key: r.By.Key, Comment: r.By.Comment, Created: r.Created, Started: r.Started, Ended: r.Ended, Kept: r.Kept,
	}
}

// summary is the line jobs prints.
func summary(r *job.Record, now time.Time) string {
	line := fmt.Sprintf("%s %s %s", r.ID, r.State, r.Label())
	if r.Facts.Version != "" {
		line += " " + r.Facts.Version
	}
	switch r.State {
	case job.Running:
		line += fmt.Sprintf(": %s on %s for %s", r.Phase, r.Builder, now.Sub(r.Started).Round(time.Second))
	case job.Failed:
		line += ": " + r.Cause
	}
	if r.Reason != "" {
		line += ": " + r.Reason
	}
	return oneLine(line) + "\n"
}

// mayJob asks whether the caller may use this verb on a job: one that its
// rights reach, by a verb that it has for all jobs, or its own.
func (c *call) mayJob(r *job.Record) bool {
	if !c.may(access{repo: r.Repo, arch: r.Arch, base: r.Base}) {
		return false
	}
	verbs := c.by.Rights.Verbs
	return verbs.has(c.verb.name) || slices.Contains(c.verb.groups, groupRead) && verbs.has(groupRead) || r.By.Key == c.by.Key
}

// records lists the jobs that the caller may use this verb on, the oldest
// first.
func (c *call) records() ([]*job.Record, error) {
	if c.Builds == nil {
		return nil, refuse(repo.ErrBusy, "this server has no job queue")
	}
	all, err := c.Builds.List()
	if all == nil && err != nil {
		return nil, err
	}
	if err != nil {
		c.log.Error("records of jobs", "err", err) // the others are there
	}
	return slices.DeleteFunc(all, func(r *job.Record) bool { return !c.mayJob(r) }), nil
}

// findJob is the job that an operand means: one by its id, or the last one of
// a package base.
func (c *call) findJob(word string) (*job.Record, error) {
	c.subject = word
	if id, err := job.ParseID(word); err == nil && c.Builds != nil {
		r, err := c.Builds.Read(id)
		if err == nil && c.mayJob(r) {
			return r, nil
		}
		if err != nil && !errors.Is(err, job.ErrNotFound) {
			return nil, err
		}
	}
	all, err := c.records()
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(all) {
		if r.Base == word {
			return r, nil
		}
	}
	return nil, refuse(repo.ErrNotFound, "no such job, and none for a package base of that name")
}

// finishedShown is how many jobs that are over jobs lists without --all.
const finishedShown = 20

// jobs lists what is to be built, is being built, and was built last.
func jobs(_ context.Context, c *call) error {
	all, err := c.records()
	if err != nil {
		return err
	}
	if len(c.args) > 0 {
		all = slices.DeleteFunc(all, func(r *job.Record) bool { return !slices.Contains(c.args, r.Base) })
	}
	if only := c.flags.value("repo"); only != "" {
		all = slices.DeleteFunc(all, func(r *job.Record) bool { return r.Repo != only })
	}
	if !c.flags.on("all") {
		all = recent(all)
	}
	for _, r := range all {
		if err := c.emit(rowOf(r), summary(r, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// recent leaves out the jobs that are over, but for the last ones.
func recent(all []*job.Record) []*job.Record {
	over := 0
	for _, r := range all {
		if r.State.Final() {
			over++
		}
	}
	return slices.DeleteFunc(all, func(r *job.Record) bool {
		if !r.State.Final() {
			return false
		}
		over--
		return over >= finishedShown
	})
}

// cancel ends jobs.
func cancel(ctx context.Context, c *call) error {
	return c.changeJobs(ctx, func(q *job.Client, ch job.Change) (*job.Record, error) { return q.Cancel(ctx, ch) })
}

// retry takes jobs up again that have come to nothing.
func retry(ctx context.Context, c *call) error {
	return c.changeJobs(ctx, func(q *job.Client, ch job.Change) (*job.Record, error) {
		ch.Publish = c.flags.on("publish")
		return q.Retry(ctx, ch)
	})
}

func (c *call) changeJobs(ctx context.Context, change func(*job.Client, job.Change) (*job.Record, error)) error {
	if len(c.args) == 0 {
		return c.misused("no JOB given")
	}
	queue, err := c.queue()
	if err != nil {
		return err
	}
	var ids []job.ID
	for _, word := range c.args {
		r, err := c.findJob(word)
		if err != nil {
			return err
		}
		r, err = change(queue, job.Change{ID: r.ID, By: job.Asker{Key: c.by.Key, Comment: c.by.Comment}})
		if err != nil {
			return jobError(err)
		}
		if err := c.emit(rowOf(r), summary(r, time.Now())); err != nil {
			return err
		}
		ids = append(ids, r.ID)
	}
	if c.flags.on("follow") {
		return c.follow(ctx, ids)
	}
	return nil
}

package receive

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"serene/internal/job"
)

// explain says why a package base is where it is.
func explain(ctx context.Context, c *call) error {
	base, err := c.oneOperand("PKGBASE")
	if err != nil {
		return err
	}
	r, err := c.findJob(base)
	if err != nil {
		return err
	}
	e := explanation{c: c}
	e.job(r, "")
	if !r.State.Final() {
		e.builders(ctx, r)
	}
	e.publishedAs(r)
	return c.emit(struct {
		jobRow
		Explanation []string `json:"explanation"`
	}{rowOf(r), e.lines}, strings.Join(e.lines, "\n")+"\n")
}

// explanation gathers lines for people.
type explanation struct {
	c     *call
	lines []string
}

func (e *explanation) add(indent, format string, args ...any) {
	e.lines = append(e.lines, indent+oneLine(fmt.Sprintf(format, args...)))
}

func (e *explanation) job(r *job.Record, indent string) {
	e.add(indent, "%s", strings.TrimSpace(summary(r, time.Now())))
	indent += "  "
	e.add(indent, "asked for by %s at %s, from %s", r.By.Name(), r.Created.Format(time.RFC3339), origin(r))
	if r.Attempt > 1 {
		e.add(indent, "taken up %d times, last by builder %s", r.Attempt, r.Builder)
	}
	if r.Kept {
		e.add(indent, "what it made is kept: retry --publish %s publishes it", r.ID)
	}
	for _, n := range r.Needs {
		dep, err := e.c.Builds.Read(n.Job)
		if err != nil || !e.c.mayJob(dep) {
			continue
		}
		e.add(indent, "needs %s, for %s:", n.Base, n.For)
		if len(indent) < 40 {
			e.job(dep, indent+"  ")
		}
	}
}

// origin words where a job's PKGBUILD is from.
func origin(r *job.Record) string {
	where := map[string]string{job.SourceAUR: "the AUR", job.SourceTar: "a tar", job.SourceGit: r.Source.URL}[r.Source.Kind]
	if r.Facts.Commit != "" {
		where += " at " + r.Facts.Commit
	}
	return where
}

// builders says who could take the job.
func (e *explanation) builders(ctx context.Context, r *job.Record) {
	queue, err := e.c.queue()
	if err != nil {
		e.add("", "the job queue does not answer")
		return
	}
	all, err := queue.Builders(ctx)
	if err != nil {
		e.add("", "the job queue does not answer")
		return
	}
	all = slices.DeleteFunc(all, func(b job.Builder) bool { return !slices.Contains(b.Arches, r.Arch) })
	if len(all) == 0 {
		e.add("", "no builder for %s is connected", r.Arch)
	}
	for _, b := range all {
		e.add("", "%s", builderLine(&b, time.Now()))
	}
}

func (e *explanation) publishedAs(r *job.Record) {
	v, err := e.c.Store.View(r.Repo, r.Arch)
	if err != nil {
		return
	}
	for entry := range v.Entries() {
		if entry.Base == r.Base && e.c.mayFind(v, entry) {
			e.add("", "published: %s", match{v, entry})
		}
	}
}

// builderRow is a builder, as status --json prints it.
type builderRow struct {
	Builder string    `json:"builder"`
	Key     string    `json:"key"`
	Arches  []string  `json:"arches"`
	Slots   int       `json:"slots"`
	Jobs    []job.ID  `json:"jobs"`
	Load    float64   `json:"load"`
	Seen    time.Time `json:"seen"`            // last heartbeat
	Lacks   job.Lack  `json:"lacks,omitempty"` // for want of which it takes no job
	Note    string    `json:"note,omitempty"`
}

func builderLine(b *job.Builder, now time.Time) string {
	line := fmt.Sprintf("builder %s for %s jobs %d/%d load %.2f heartbeat %s ago",
		b.Name, strings.Join(b.Arches, " "), len(b.Jobs), b.Slots, b.Load, now.Sub(b.Seen).Round(time.Second))
	if b.Note != "" {
		line += ": takes none: " + b.Note
	}
	return oneLine(line)
}

// emitBuilders shows who builds for this server. Without a queue there is
// nothing to show.
func (c *call) emitBuilders(ctx context.Context) error {
	if c.Queue == nil {
		return nil
	}
	queue, err := c.queue()
	if err != nil {
		c.say("builders: %s", reason(err))
		return nil
	}
	all, err := queue.Builders(ctx)
	if err != nil {
		c.say("builders: %s", reason(jobError(err)))
		return nil
	}
	for _, b := range all {
		row := builderRow{
			Builder: b.Name, Key: b.Key, Arches: b.Arches, Slots: b.Slots, Load: b.Load, Seen: b.Seen,
			Lacks: b.Lacks, Note: b.Note, Jobs: []job.ID{},
		}
		for _, run := range b.Jobs {
			row.Jobs = append(row.Jobs, run.Job)
		}
		if err := c.emit(row, builderLine(&b, time.Now())+"\n"); err != nil {
			return err
		}
	}
	return nil
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"serene/internal/alpm"
	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source"
)

// attempt is one job being worked on.
type attempt struct {
	*Worker
	task  *job.Task
	ctx   context.Context
	stop  context.CancelCauseFunc
	ended chan struct{}
	dir   string

	phases *phases
	out    io.Writer // to the hub
	log    *build.Log
	tree   *source.Tree
	info   *alpm.SrcInfo
	own    *ownRepo

	facts  job.Facts
	result *build.Result
	kept   bool
	told   []string // receipts
}

// settleWithin is how long the hub may take to hear how an attempt ended that
// was not to go on.
const settleWithin = 15 * time.Second

func newAttempt(w *Worker, task *job.Task) *attempt {
	a := &attempt{Worker: w, task: task, ended: make(chan struct{}), dir: w.path("jobs", string(task.ID))}
	a.ctx, a.stop = context.WithCancelCause(context.Background())
	a.out = task.LogWriter(a.ctx)
	a.phases = newPhases(a)
	return a
}

// needs is why an attempt ends that waits for other jobs.
type needs []job.Need

func (n needs) Error() string { return "it needs other packages first" }

// published is why an attempt ends early and well.
type published struct{ what string }

func (p *published) Error() string { return p.what + " is published already" }

// run works, and tells the hub how it went.
func (a *attempt) run() {
	log := a.opt.Log.With("job", a.task.ID, "base", a.task.Label(), "attempt", a.task.Attempt)
	began := time.Now()
	err := a.guarded()
	a.phases.end()
	if a.ctx.Err() != nil {
		err = context.Cause(a.ctx)
	}
	log.Info("attempt ended", "took", time.Since(began), "err", err)
	if err := a.end(err); err != nil {
		log.Warn("the hub does not know how it ended", "err", err)
	}
	a.stop(nil)
	if err := os.RemoveAll(a.dir); err != nil {
		log.Warn("left behind", "dir", a.dir, "err", err)
	}
}

// guarded is steps, where a panic is trouble of the host.
func (a *attempt) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.opt.Log.Error("panic", "job", a.task.ID, "err", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the builder failed: %v", p)
		}
	}()
	return a.steps()
}

func (a *attempt) steps() error {
	if err := errors.Join(os.RemoveAll(a.dir), os.Mkdir(a.dir, 0o700)); err != nil {
		return err
	}
	var err error
	if a.log, err = build.NewLog(filepath.Join(a.dir, "log"), a.opt.LogMax, a.out); err != nil {
		return err
	}
	err = a.make()
	if closing := a.log.Close(a.ctx, a.closing(err)); closing != nil && err == nil {
		a.opt.Log.Warn("output was not taken", "job", a.task.ID, "err", closing)
	}
	if err != nil {
		return err
	}
	return a.publish()
}

// make goes from the job to packages in the directory "out".
func (a *attempt) make() error {
	for _, step := range []func() error{a.fetch, a.plan, a.build, a.compare} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// closing is the last line of what the sandbox and the steps before it print.
func (a *attempt) closing(err error) string {
	if err == nil {
		return "==> [publish] to " + a.task.Repo
	}
	var p *published
	if errors.As(err, &p) {
		return "  -> " + err.Error()
	}
	return "  -> stopped"
}

// say begins a phase of the worker's own.
func (a *attempt) say(phase, format string, args ...any) error {
	a.phases.begin(phase)
	_, err := fmt.Fprintf(a.log, "==> [%s] %s\n", phase, fmt.Sprintf(format, args...))
	return err
}

// report tells the hub something. Where that shows that the attempt does not
// count any more, it is stopped.
func (a *attempt) report(r job.Report) error {
	err := a.task.Report(a.ctx, r)
	if errors.Is(err, job.ErrStale) {
		a.stop(&stopped{err.Error()})
	}
	return err
}

// end reports how the attempt ended.
func (a *attempt) end(err error) error {
	r := a.verdict(err)
	if r.End == "" {
		return nil
	}
	ctx, cancel := a.ctx, context.CancelFunc(func() {})
	if a.ctx.Err() != nil {
		ctx, cancel = context.WithTimeout(context.Background(), settleWithin)
	}
	defer cancel()
	_, err = a.task.End(ctx, r)
	return err
}

// verdict turns an error into what the hub is told; nothing, if it does not
// want to hear of it.
func (a *attempt) verdict(err error) job.Report {
	var gone *stopped
	var wait needs
	var there *published
	var failure *build.Failure
	switch {
	case err == nil:
		return job.Report{End: job.EndDone, Published: a.told}
	case errors.As(err, &gone), errors.Is(err, errSilence):
		return job.Report{}
	case errors.Is(err, errShutdown):
		return job.Report{End: job.EndHandBack}
	case errors.As(err, &wait):
		return job.Report{End: job.EndParked, Needs: wait}
	case errors.As(err, &there):
		return job.Report{End: job.EndDone, Reason: err.Error()}
	case errors.As(err, &failure) && failure.Cause == build.CauseHost && !a.kept:
		return job.Report{End: job.EndTrouble, Reason: failure.Text}
	case errors.As(err, &failure):
		return job.Report{End: job.EndFailed, Cause: string(failure.Cause), Reason: failure.Text, Kept: a.kept}
	}
	return job.Report{End: job.EndTrouble, Reason: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// build has the sandbox do its work.
func (a *attempt) build() error {
	r, err := a.recipe()
	if err != nil {
		return err
	}
	a.result, err = a.box().Run(a.ctx, r, a.log, a.phases.begin)
	cause := build.CauseOf(err)
	if cause == build.CauseDisk || errors.Is(err, build.ErrNoSpace) {
		a.takeCaches(&r)
	}
	if cause == build.CauseDependency && !a.task.Options.NoDeps {
		return a.needsOfFailure(err)
	}
	return err
}

// phases tells the hub where the attempt is, in order, without holding it up.
type phases struct {
	names chan string
	all   sync.WaitGroup
}

func newPhases(a *attempt) *phases {
	p := &phases{names: make(chan string, 16)}
	p.all.Go(func() {
		for name := range p.names {
			a.report(job.Report{Phase: name})
		}
	})
	return p
}

func (p *phases) begin(name string) {
	select {
	case p.names <- name:
	default: // the hub has more to do than to hear of it
	}
}

func (p *phases) end() {
	close(p.names)
	p.all.Wait()
}

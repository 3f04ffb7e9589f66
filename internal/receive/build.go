package receive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/job"
	"serene/internal/repo"
	"serene/internal/source"
)

const (
	// maxSourceTar bounds a tar for build -; what it unpacks to has limits of
	// its own.
	maxSourceTar = 256 << 20
	// maxNames bounds what one build asks for.
	maxNames = 200
)

// build asks for builds: of packages of the AUR, of a git repository, or with
// "-" of a tar on stdin.
func build(ctx context.Context, c *call) error {
	specs, err := c.wanted(ctx)
	if err != nil {
		return err
	}
	rights, err := json.Marshal(c.by.Rights)
	if err != nil {
		return err
	}
	queue, err := c.queue()
	if err != nil {
		return err
	}
	by := job.Asker{Key: c.by.Key, Comment: c.by.Comment, Rights: rights}
	jobs, err := queue.Submit(ctx, job.Submission{By: by, Jobs: specs})
	if err != nil {
		return jobError(err)
	}
	var ids []job.ID
	for i := range jobs {
		if err := c.emitSubmitted(&jobs[i]); err != nil {
			return err
		}
		ids = append(ids, jobs[i].ID)
	}
	if !c.flags.on("follow") {
		return nil
	}
	return c.follow(ctx, ids)
}

func (c *call) emitSubmitted(j *job.Submitted) error {
	if j.Joined {
		c.say("%s is asked for already: job %s is %s", j.Label(), j.ID, j.State)
	}
	if c.flags.on("follow") && c.flags.on("json") {
		return nil // the row comes when it is over
	}
	return c.emit(rowOf(&j.Record), fmt.Sprintf("%s %s %s\n", j.State, j.ID, oneLine(j.Label())))
}

// wanted is what the operands and flags ask for.
func (c *call) wanted(ctx context.Context) ([]job.Spec, error) {
	base, err := c.template()
	if err != nil {
		return nil, err
	}
	tar := slices.Equal(c.args, []string{"-"})
	switch {
	case c.flags.on("git"):
		return c.wantGit(base)
	case c.flags.on("branch"), c.flags.on("path"):
		return nil, c.misused("--branch and --path go with --git")
	case tar:
		return c.wantTar(ctx, base)
	case len(c.args) == 0:
		return nil, c.misused("no PKGBASE given")
	case len(c.args) > maxNames:
		return nil, refuse(repo.ErrUsage, "at most %d at a time", maxNames)
	}
	return c.wantAUR(ctx, base)
}

// template is what all jobs of this call have in common.
func (c *call) template() (job.Spec, error) {
	target, err := c.target()
	if err != nil {
		return job.Spec{}, err
	}
	spec, ok := c.Store.Spec(target)
	if !ok || repo.IsDebug(target) {
		return job.Spec{}, refuse(repo.ErrNotFound, "no repository %s to build for", target)
	}
	arch := c.flags.value("arch")
	if arch == "" {
		arch = spec.Arches[0]
	}
	if !slices.Contains(spec.Arches, arch) {
		return job.Spec{}, refuse(repo.ErrNotFound, "%s has no architecture %s", target, arch)
	}
	if !c.may(access{repo: target, arch: arch}) {
		return job.Spec{}, refuse(repo.ErrDenied, "not allowed for %s: %s", arch, c.by.has())
	}
	network := c.flags.value("network")
	if network != "" && !slices.Contains([]string{"fetch", "open", "none"}, network) {
		return job.Spec{}, refuse(repo.ErrUsage, "--network takes fetch, open or none")
	}
	return job.Spec{Repo: target, Arch: arch, Options: job.Options{
		Clean: c.flags.on("clean"), NoDeps: c.flags.on("no-deps"), Network: network,
	}}, nil
}

func (c *call) wantGit(s job.Spec) ([]job.Spec, error) {
	if len(c.args) > 0 {
		return nil, c.misused("--git takes the place of PKGBASE")
	}
	c.subject = c.flags.value("git")
	ref := source.Ref{Kind: source.KindGit, URL: c.subject, Branch: c.flags.value("branch"), Path: c.flags.value("path")}
	if err := ref.Check(c.GitAllow); err != nil {
		return nil, sourceError(err)
	}
	s.ID = job.NewID(time.Now())
	s.Source = job.Source{Kind: job.SourceGit, URL: ref.URL, Branch: ref.Branch, Path: ref.Path}
	return []job.Spec{s}, nil
}

// wantTar keeps the tar on stdin for the builder. A client killed while sending
// looks like one that is done, so the tar must end with its end-of-archive.
func (c *call) wantTar(ctx context.Context, s job.Spec) ([]job.Spec, error) {
	c.subject = "-"
	s.ID = job.NewID(time.Now())
	in := &tail{r: c.in}
	sum, err := c.Builds.AddSource(s.ID, in, maxSourceTar)
	if err != nil {
		return nil, jobError(err)
	}
	if err = context.Cause(ctx); err == nil && (in.n == 0 || in.zeros < 2*tarBlock) {
		err = refuse(repo.ErrContent, "stdin is not a tar, or one that is cut off: tar c . | ssh HOST build -")
	}
	if err != nil {
		return nil, errors.Join(err, c.Builds.Drop(s.ID))
	}
	s.Source = job.Source{Kind: job.SourceTar, SHA256: sum}
	return []job.Spec{s}, nil
}

// wantAUR finds the package bases that the operands mean, be they names of
// bases or of packages.
func (c *call) wantAUR(ctx context.Context, s job.Spec) ([]job.Spec, error) {
	found, err := c.AUR.Info(ctx, c.args...)
	if err != nil {
		return nil, sourceError(err)
	}
	var specs []job.Spec
	for _, name := range c.args {
		pkg, err := c.findAUR(ctx, found, name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(specs, func(had job.Spec) bool { return had.Base == pkg.Base }) {
			continue
		}
		if !c.may(access{repo: s.Repo, arch: s.Arch, base: pkg.Base}) {
			return nil, refuse(repo.ErrDenied, "not allowed to build %s: %s", pkg.Base, c.by.has())
		}
		s.ID, s.Base = job.NewID(time.Now()), pkg.Base
		s.Source = job.Source{Kind: job.SourceAUR, Modified: pkg.LastModified}
		specs = append(specs, s)
	}
	return specs, nil
}

// findAUR is the package that name means: that of found, or any of the base of
// that name.
func (c *call) findAUR(ctx context.Context, found []source.Pkg, name string) (*source.Pkg, error) {
	if alpm.ValidName(name) != nil {
		return nil, refuse(repo.ErrUsage, "%q is no package's name", name)
	}
	i := slices.IndexFunc(found, func(p source.Pkg) bool { return p.Name == name })
	if i >= 0 {
		return &found[i], nil
	}
	members, err := c.AUR.Members(ctx, name)
	if err != nil {
		return nil, sourceError(err)
	}
	if len(members) == 0 {
		return nil, refuse(repo.ErrNotFound, "there is no %s in the AUR", name)
	}
	return &members[0], nil
}

// queue is the job queue of this server.
func (c *call) queue() (*job.Client, error) {
	if c.Queue == nil {
		return nil, refuse(repo.ErrBusy, "this server has no job queue")
	}
	q, err := c.Queue()
	return q, jobError(err)
}

// jobClasses are the classes of the queue's errors as classes of verbs.
var jobClasses = map[error]error{
	job.ErrNotFound: repo.ErrNotFound,
	job.ErrConflict: repo.ErrConflict,
	job.ErrDenied:   repo.ErrDenied,
	job.ErrTooLarge: repo.ErrTooLarge,
	job.ErrBusy:     repo.ErrBusy,
	job.ErrStale:    repo.ErrDenied,
}

// jobError gives an error of the queue the class it has among verbs.
func jobError(err error) error {
	for from, to := range jobClasses {
		if errors.Is(err, from) {
			return refuse(to, "%s", err)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return refuse(repo.ErrBusy, "the job queue does not answer")
	}
	return err
}

// sourceError does the same for an error about sources.
func sourceError(err error) error {
	for from, to := range map[error]error{
		source.ErrUnavailable: repo.ErrBusy,
		source.ErrNotFound:    repo.ErrNotFound,
		source.ErrRefused:     repo.ErrUsage,
		source.ErrTooLarge:    repo.ErrTooLarge,
		source.ErrDependency:  repo.ErrConflict,
	} {
		if errors.Is(err, from) {
			return refuse(to, "%s", strings.TrimSpace(err.Error()))
		}
	}
	return err
}

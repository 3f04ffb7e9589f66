package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"serene/internal/alpm"
	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source"
)

// fetch brings the PKGBUILD's directory here.
func (a *attempt) fetch() error {
	s := a.task.Source
	if s.Kind == job.SourceTar {
		if err := a.say("fetch", "the tar that was sent"); err != nil {
			return err
		}
		return a.fetchTar()
	}
	ref := source.Ref{Kind: source.KindGit, URL: s.URL, Branch: s.Branch, Path: s.Path}
	if s.Kind == job.SourceAUR {
		ref = a.opt.AUR.Ref(a.task.Base)
	}
	if err := a.say("fetch", "%s", oneLine(strings.TrimSpace(ref.URL+" "+ref.Branch+" "+ref.Path))); err != nil {
		return err
	}
	var err error
	a.tree, err = a.opt.Fetcher.Fetch(a.ctx, ref, filepath.Join(a.dir, "tree"), a.log)
	if err == nil {
		_, err = fmt.Fprintf(a.log, "  -> commit %s\n", a.tree.Commit)
	}
	return fromSource(err)
}

func (a *attempt) fetchTar() error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(a.task.CopySource(a.ctx, w)) }()
	defer r.Close()
	var err error
	a.tree, err = source.ReadTar(r, filepath.Join(a.dir, "tree"), source.Limits{})
	return fromSource(err)
}

// fromSource tells what is the package's fault from what is not.
func fromSource(err error) error {
	cause := build.CauseSources
	switch {
	case errors.Is(err, source.ErrDependency):
		cause = build.CauseDependency
	case errors.Is(err, source.ErrNotFound), errors.Is(err, source.ErrRefused), errors.Is(err, source.ErrTooLarge):
	default:
		return err
	}
	return &build.Failure{Cause: cause, Text: oneLine(err.Error())}
}

// plan finds out what will be built, whether it has to be, and what for lack of
// which it cannot be.
func (a *attempt) plan() (err error) {
	if err := a.say("plan", "what it makes and needs"); err != nil {
		return err
	}
	if a.info, err = a.srcInfo(); err != nil {
		return err
	}
	version := string(a.info.FullVersion())
	a.facts = job.Facts{
		Base: a.info.Base, Version: version, URL: a.tree.URL, Commit: a.tree.Commit, PkgbuildSHA256: a.tree.PkgbuildSHA256,
	}
	if err := a.report(job.Report{Facts: a.facts}); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.log, "  -> %s %s\n", a.info.Base, version); err != nil {
		return err
	}
	if !a.info.BuildsFor(a.task.Arch) {
		return failed(build.CausePackage, "it does not build for %s", a.task.Arch)
	}
	if a.own, err = fetchRepo(a.ctx, a.opt.Hub, a.task.Repo, a.task.Arch); err != nil {
		return err
	}
	if !a.versionMoves() && a.own.hasAll(a.names(), a.info.FullVersion()) {
		return &published{a.info.Base + " " + version}
	}
	return a.needsByName()
}

func failed(cause build.Cause, format string, args ...any) error {
	return &build.Failure{Cause: cause, Text: fmt.Sprintf(format, args...)}
}

// srcInfo is the .SRCINFO that came along, or what makepkg prints.
func (a *attempt) srcInfo() (*alpm.SrcInfo, error) {
	if a.tree.SrcInfo != nil {
		return a.tree.SrcInfo, nil
	}
	if _, err := fmt.Fprintf(a.log, "  -> %s: makepkg is asked\n", oneLine(a.tree.SrcInfoErr.Error())); err != nil {
		return nil, err
	}
	base := a.task.Base
	if base == "" {
		base = "unknown"
	}
	text, err := a.box().SrcInfo(a.ctx, build.Recipe{
		Job: string(a.task.ID) + "-srcinfo", Base: base, Tree: a.tree.Dir, Network: build.NetworkNone, Limits: a.opt.Limits,
	}, a.log)
	if err != nil {
		return nil, err
	}
	info, err := alpm.ParseSrcInfo(text)
	if err != nil {
		return nil, failed(build.CauseSources, "%s", oneLine(err.Error()))
	}
	return info, nil
}

// names are the packages that are built for the architecture.
func (a *attempt) names() (all []string) {
	for _, p := range a.info.Packages {
		if p.ArchFor(a.task.Arch) != "" {
			all = append(all, p.Name)
		}
	}
	return all
}

// versionMoves reports whether the PKGBUILD may raise its version while it is
// built, so that only then it is known.
func (a *attempt) versionMoves() bool {
	text, err := os.ReadFile(filepath.Join(a.tree.Dir, "PKGBUILD"))
	return err != nil || strings.Contains(strings.ReplaceAll(string(text), " ", ""), "pkgver()")
}

// compare looks, once the version is known for certain, whether the packages
// are published already.
func (a *attempt) compare() error {
	var names []string
	version := a.info.FullVersion()
	for _, p := range a.result.Packages {
		version = p.Info.Version
		if !p.Info.IsDebug() {
			names = append(names, p.Info.Name)
		}
		a.facts.Packages = append(a.facts.Packages, job.Package{Name: p.Info.Name, Version: string(p.Info.Version), Arch: p.Info.Arch})
	}
	a.facts.Version, a.facts.Image = string(version), a.result.Image
	if version != a.info.FullVersion() && !a.versionMoves() {
		return failed(build.CausePackage, "it made version %s, and the PKGBUILD has %s", version, a.info.FullVersion())
	}
	if a.own.hasAll(names, version) {
		return &published{a.info.Base + " " + string(version)}
	}
	return nil
}

// needsByName looks for dependencies that are packages of the AUR. The AUR has
// no package of a name that the distribution has, so one that is found there
// can come from nowhere else.
func (a *attempt) needsByName() error {
	missing := source.Needs(a.info, a.task.Arch, a.own.provides)
	if len(missing) == 0 || a.task.Options.NoDeps {
		return nil
	}
	var names []string
	for _, dep := range missing {
		if d, err := alpm.ParseDep(dep); err == nil {
			names = append(names, d.Name)
		}
	}
	pkgs, err := a.opt.AUR.Info(a.ctx, names...)
	if errors.Is(err, source.ErrUnavailable) { // the distribution may have them all
		_, err := fmt.Fprintf(a.log, "  -> %s\n", oneLine(err.Error()))
		return err
	}
	if err != nil {
		return fromSource(err)
	}
	missing = slices.DeleteFunc(missing, func(dep string) bool {
		d, err := alpm.ParseDep(dep)
		return err != nil || !slices.ContainsFunc(pkgs, func(p source.Pkg) bool { return p.Name == d.Name })
	})
	return a.resolve(missing)
}

// needsOfFailure looks whether the AUR has what pacman could not find: names
// that packages only provide. It returns the failure itself if not.
func (a *attempt) needsOfFailure(failure error) error {
	missing := source.Needs(a.info, a.task.Arch, a.own.provides)
	for _, dep := range missing {
		d, err := alpm.ParseDep(dep)
		if err != nil || !strings.Contains(failure.Error(), d.Name) {
			continue
		}
		var wait needs
		if err := a.resolve([]string{dep}); errors.As(err, &wait) {
			return wait
		}
	}
	return failure
}

// resolve finds the bases in the AUR that satisfy deps.
func (a *attempt) resolve(deps []string) error {
	if len(deps) == 0 {
		return nil
	}
	root := source.Pkg{Name: a.info.Base, Base: a.info.Base, Version: a.info.FullVersion(), Depends: deps}
	steps, err := source.Plan(a.ctx, &withRoot{a.opt.AUR, root}, []string{root.Name}, func(dep string) bool {
		return !slices.Contains(deps, dep) // what those need in turn, their own jobs find out
	})
	if err != nil {
		return fromSource(err)
	}
	var wait needs
	for _, s := range steps {
		if s.Base != root.Base {
			wait = append(wait, job.Need{Base: s.Base, For: s.For})
		}
	}
	return wait
}

// withRoot is the AUR with one package as it is here.
type withRoot struct {
	*source.AUR
	root source.Pkg
}

// Info implements source.Resolver.
func (r *withRoot) Info(ctx context.Context, names ...string) ([]source.Pkg, error) {
	if i := slices.Index(names, r.root.Name); i >= 0 {
		found, err := r.AUR.Info(ctx, slices.Delete(slices.Clone(names), i, i+1)...)
		return append(found, r.root), err
	}
	return r.AUR.Info(ctx, names...)
}

// recipe is what the sandbox is told.
func (a *attempt) recipe() (build.Recipe, error) {
	arch := a.task.Arch
	out, local := filepath.Join(a.dir, "out"), filepath.Join(a.dir, "repo")
	if err := os.Mkdir(out, 0o755); err != nil {
		return build.Recipe{}, err
	}
	r := build.Recipe{
		Job: string(a.task.ID), Base: a.info.Base, Arch: arch, Tree: a.tree.Dir,
		Packages: a.names(), Depends: a.info.BuildDepends(arch), Sources: a.info.Sources.For(arch), ValidPGPKeys: a.info.ValidPGPKeys,
		Network: a.opt.Network, Limits: a.opt.Limits, Packager: a.opt.Packager, Out: out,
	}
	if a.task.Options.Network != "" {
		r.Network = a.task.Options.Network
	}
	if !a.tree.Time.IsZero() {
		r.SourceDateEpoch = a.tree.Time.Unix()
	}
	if err := a.giveCaches(&r); err != nil {
		return r, err
	}
	wanted := a.own.closure(r.Depends)
	if len(wanted) == 0 {
		return r, nil
	}
	if err := a.layRepo(local, wanted); err != nil {
		return r, err
	}
	key, err := fetchKey(a.ctx, a.opt.Hub)
	r.LocalRepo, r.RepoName, r.RepoKey = local, a.task.Repo, key
	return r, err
}

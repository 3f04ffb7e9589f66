package repo

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// Level is what a rule on the result does where it is broken.
type Level string

const (
	Warn   Level = "warn" // publish, and say so; the zero Level is this
	Refuse Level = "refuse"
	Off    Level = "off"
)

// Rules are asked of what a repository would become, after the rules that a
// package must keep by itself.
type Rules struct {
	// Depends: every dependency of a package is provided by our repositories or
	// by the upstream databases. Skipped while those are not known.
	Depends Level
	// Files: no two packages own one file without a conflict between them.
	Files Level
	// Claims: replaces, and provides and conflicts that name a package of
	// another package base, need a grant.
	Claims Level
	// Grants are globs of names that packages may claim.
	Grants []string
}

// Upstream knows the packages clients have from elsewhere.
type Upstream interface {
	// Known reports whether the upstream databases for arch are at hand.
	Known(arch string) bool
	// Has reports whether there is a package called name for arch.
	Has(arch, name string) bool
	// Satisfies reports whether some package for arch satisfies dep.
	Satisfies(arch string, dep alpm.Dep) bool
}

type noUpstream struct{}

func (noUpstream) Known(string) bool               { return false }
func (noUpstream) Has(string, string) bool         { return false }
func (noUpstream) Satisfies(string, alpm.Dep) bool { return false }

// judge asks the rules on the result of a decision: trial is the draft it was
// done on, before the one it was made on. It returns warnings by repository and
// file name, or the refusal.
func (w *Writer) judge(before, trial *draft, dec *decision) (map[string][]string, error) {
	j := &judgement{before: before, trial: trial, upstream: w.store.opt.Upstream, warnings: make(map[string][]string)}
	if j.upstream == nil {
		j.upstream = noUpstream{}
	}
	for _, c := range dec.changes {
		if IsDebug(c.place.repo) || c.action == Already {
			continue
		}
		spec, _ := w.store.Spec(c.place.repo)
		for _, rule := range []struct {
			level  Level
			broken func(Spec, change) ([]string, error)
		}{{spec.Rules.Claims, j.claims}, {spec.Rules.Files, j.files}, {spec.Rules.Depends, j.depends}} {
			if rule.level == Off {
				continue
			}
			faults, err := rule.broken(spec, c)
			if err != nil {
				return nil, err
			}
			if len(faults) > 0 && rule.level == Refuse {
				return nil, refuse(ErrConflict, "%s: %s", c.entry.FileName, faults[0])
			}
			j.warnings[c.file()] = append(j.warnings[c.file()], faults...)
		}
	}
	return j.warnings, nil
}

type judgement struct {
	before, trial *draft
	upstream      Upstream
	warnings      map[string][]string
}

// claims looks for names outside the package base.
func (j *judgement) claims(spec Spec, c change) ([]string, error) {
	if c.action != Published {
		return nil, nil
	}
	o, err := j.trial.at(c.place)
	if err != nil {
		return nil, err
	}
	foreign := func(text string, mustExist bool) bool {
		dep, err := alpm.ParseDep(text)
		if err != nil || dep.Name == c.entry.Name || granted(spec.Rules.Grants, dep.Name) {
			return false
		}
		if e := o.find(dep.Name); e != nil {
			return e.Base != c.entry.Base
		}
		return !mustExist || j.upstream.Has(c.place.arch, dep.Name)
	}
	var faults []string
	for _, claim := range []struct {
		verb      string
		names     []string
		mustExist bool
	}{{"replaces", c.entry.Replaces, false}, {"provides", c.entry.Provides, true}, {"conflicts with", c.entry.Conflicts, true}} {
		for _, text := range claim.names {
			if foreign(text, claim.mustExist) {
				faults = append(faults, fmt.Sprintf("%s %s, which is of another package base, without a grant", claim.verb, text))
			}
		}
	}
	return faults, nil
}

func granted(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// depends looks for dependencies of what enters that nothing provides, and for
// those of others that what leaves, or is replaced, has provided.
func (j *judgement) depends(_ Spec, c change) ([]string, error) {
	if !j.upstream.Known(c.place.arch) {
		return nil, nil
	}
	var faults []string
	if c.action == Published {
		for _, text := range c.entry.Depends {
			ok, err := j.provided(c.place, text)
			if err != nil {
				return nil, err
			}
			if !ok {
				faults = append(faults, fmt.Sprintf("needs %s, which neither we nor upstream provide", text))
			}
		}
	}
	o, err := j.before.at(c.place)
	if err != nil {
		return nil, err
	}
	old := o.find(c.entry.Name)
	if old == nil {
		return faults, nil
	}
	orphans, err := j.orphans(c, old)
	return append(faults, orphans...), err
}

// orphans lists who depends on something that old provided and nothing does
// any more.
func (j *judgement) orphans(c change, old *alpm.Entry) ([]string, error) {
	lost := map[string]bool{old.Name: true}
	for _, p := range old.Provides {
		name, _, _ := strings.Cut(p, "=")
		lost[name] = true
	}
	o, err := j.trial.at(c.place)
	if err != nil {
		return nil, err
	}
	var faults []string
	for e := range o.entries() {
		for _, text := range e.Depends {
			name, _, _ := strings.Cut(strings.NewReplacer("<", "=", ">", "=").Replace(text), "=")
			if !lost[name] || e.Name == c.entry.Name {
				continue
			}
			ok, err := j.provided(c.place, text)
			if err != nil {
				return nil, err
			}
			if !ok {
				faults = append(faults, fmt.Sprintf("%s needs %s, which nothing provides any more", e.Name, text))
			}
		}
	}
	return faults, nil
}

// provided reports whether our repositories for the architecture of p, as the
// trial has them, or upstream satisfy a dependency.
func (j *judgement) provided(p place, text string) (bool, error) {
	dep, err := alpm.ParseDep(text)
	if err != nil {
		return false, nil
	}
	if j.upstream.Satisfies(p.arch, dep) {
		return true, nil
	}
	for _, spec := range j.trial.store.specs {
		if IsDebug(spec.Name) || !slices.Contains(spec.Arches, p.arch) {
			continue
		}
		o, err := j.trial.at(place{spec.Name, p.arch})
		if err != nil {
			return false, err
		}
		if o.satisfies(dep) {
			return true, nil
		}
	}
	return false, nil
}

// satisfies reports whether a package of the overlay satisfies dep.
func (o *overlay) satisfies(dep alpm.Dep) bool {
	if e := o.find(dep.Name); e != nil && dep.SatisfiedBy(e.Name, e.Version, e.Provides) {
		return true
	}
	for _, a := range o.add {
		if dep.SatisfiedBy(a.entry.Name, a.entry.Version, a.entry.Provides) {
			return true
		}
	}
	return slices.ContainsFunc(o.base.providers[dep.Name], func(name string) bool {
		e := o.find(name)
		return e != nil && dep.SatisfiedBy(e.Name, e.Version, e.Provides)
	})
}

// files looks for files that another package owns too.
func (j *judgement) files(_ Spec, c change) ([]string, error) {
	if c.action != Published {
		return nil, nil
	}
	o, err := j.trial.at(c.place)
	if err != nil {
		return nil, err
	}
	mine := make(map[string]bool)
	var hashes []uint64
	for file := range strings.Lines(string(c.files)) {
		if owned(file) {
			mine[file] = true
			hashes = append(hashes, hashPath(file))
		}
	}
	slices.Sort(hashes)
	clash := func(e *alpm.Entry, list []byte) (string, bool) {
		if e.Name == c.entry.Name || atOdds(e, c.entry) || atOdds(c.entry, e) {
			return "", false
		}
		for file := range strings.Lines(string(list)) {
			if mine[file] {
				return fmt.Sprintf("%s is also in %s, and neither conflicts with the other", strings.TrimSpace(file), e.Name), true
			}
		}
		return "", false
	}
	return o.clashes(hashes, clash)
}

// atOdds reports whether a conflicts with, or replaces, b.
func atOdds(a, b *alpm.Entry) bool {
	return slices.ContainsFunc(slices.Concat(a.Conflicts, a.Replaces), func(text string) bool {
		dep, err := alpm.ParseDep(text)
		return err == nil && dep.SatisfiedBy(b.Name, b.Version, b.Provides)
	})
}

// clashes asks clash of every package of the overlay that owns, as far as
// hashes tell, a path of hashes.
func (o *overlay) clashes(hashes []uint64, clash func(*alpm.Entry, []byte) (string, bool)) ([]string, error) {
	var faults []string
	ask := func(e *alpm.Entry, list []byte) {
		if fault, ok := clash(e, list); ok {
			faults = append(faults, fault)
		}
	}
	for _, a := range o.add {
		ask(a.entry, a.files)
	}
	for _, g := range o.base.groups {
		suspects, err := g.owners(hashes)
		if err != nil {
			return nil, err
		}
		if len(suspects) == 0 {
			continue
		}
		members, err := g.members(nil)
		if err != nil {
			return nil, err
		}
		for _, i := range suspects {
			if m := members[i]; o.find(m.entry.Name) == g.entries[i] {
				ask(m.entry, m.files)
			}
		}
	}
	slices.Sort(faults)
	return faults, nil
}

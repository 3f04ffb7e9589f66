package source

import (
	"maps"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// choose finds the package to build for a need: one of the plan, the one of that
// name, or the only one that provides it. Between strangers it never chooses.
func (p *planner) choose(n need) (*Pkg, error) {
	if pkg := p.planned(n.dep); pkg != nil {
		return pkg, nil
	}
	pkg := p.known[n.dep.Name]
	if pkg != nil && n.dep.SatisfiedBy(pkg.Name, pkg.Version, pkg.Provides) {
		return pkg, nil
	}
	providers, err := p.r.Providers(p.ctx, n.dep.Name)
	if err != nil {
		return nil, err
	}
	candidates := withoutSnapshots(satisfying(n.dep, providers))
	switch {
	case len(candidates) == 1:
		return &candidates[0], nil
	case len(candidates) > 1:
		return nil, errorf(ErrDependency, "%s depends on %s, which several packages provide: %s; build one of them first, or with it", n.from.Base, n.dep, join(candidates))
	case pkg != nil:
		return nil, errorf(ErrDependency, "%s depends on %s; the AUR has version %s", n.from.Base, n.dep, pkg.Version)
	default:
		return nil, errorf(ErrDependency, "%s depends on %s, which is in no repository here and not in the AUR", n.from.Base, n.dep)
	}
}

// planned returns the first package of the plan, by name, that satisfies dep.
func (p *planner) planned(dep alpm.Dep) *Pkg {
	for _, base := range slices.Sorted(maps.Keys(p.nodes)) {
		packages := p.nodes[base].packages
		for _, name := range slices.Sorted(maps.Keys(packages)) {
			if pkg := packages[name]; dep.SatisfiedBy(name, pkg.Version, pkg.Provides) {
				return pkg
			}
		}
	}
	return nil
}

func satisfying(dep alpm.Dep, pkgs []Pkg) []Pkg {
	var ok []Pkg
	for _, p := range pkgs {
		if dep.SatisfiedBy(p.Name, p.Version, p.Provides) {
			ok = append(ok, p)
		}
	}
	return ok
}

// withoutSnapshots leaves out "foo-git" and its like where "foo" is there too: a
// release goes before what its authors are working on.
func withoutSnapshots(pkgs []Pkg) []Pkg {
	names := make(map[string]bool)
	for _, p := range pkgs {
		names[p.Name] = true
	}
	return slices.DeleteFunc(pkgs, func(p Pkg) bool {
		for _, suffix := range []string{"-git", "-hg", "-svn", "-bzr", "-fossil"} {
			if release, ok := strings.CutSuffix(p.Name, suffix); ok && names[release] {
				return true
			}
		}
		return false
	})
}

func join(pkgs []Pkg) string {
	var names []string
	for _, p := range pkgs {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return strings.Join(names, ", ")
}

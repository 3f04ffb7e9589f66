package source

import (
	"slices"

	"serene/internal/alpm"
)

// Needs returns, sorted, what has to be there before a base is built on arch, or
// before its packages can be installed, that provided does not know of. What one
// of its packages needs and another of them satisfies is not among it, unless
// makepkg asks for it before it builds either.
func Needs(info *alpm.SrcInfo, arch string, provided func(dep string) bool) []string {
	needs := info.BuildDepends(arch)
	for _, p := range info.Packages {
		for _, dep := range p.Depends.For(arch) {
			if !satisfiedByOwn(info, arch, dep) {
				needs = append(needs, dep)
			}
		}
	}
	slices.Sort(needs)
	return slices.DeleteFunc(slices.Compact(needs), provided)
}

func satisfiedByOwn(info *alpm.SrcInfo, arch, text string) bool {
	dep, err := alpm.ParseDep(text)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(info.Packages, func(p alpm.SrcPackage) bool {
		return dep.SatisfiedBy(p.Name, info.FullVersion(), p.Provides.For(arch))
	})
}

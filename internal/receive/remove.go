package receive

import (
	"strings"

	"serene/internal/repo"
)

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

package upstream

import (
	"io"
	"strings"

	"serene/internal/alpm"
)

// index is what the rules ask of one database, and no more: some 15,000 packages
// take a few MiB.
type index struct {
	versions map[string]alpm.Version // by package name
	provides map[string][]string     // by name, what is said of it: "NAME" or "NAME=VERSION"
}

// readIndex reads a whole database.
func readIndex(r io.Reader) (*index, error) {
	i := &index{versions: make(map[string]alpm.Version), provides: make(map[string][]string)}
	for m, err := range alpm.ReadDatabase(r) {
		if err != nil {
			return nil, err
		}
		i.versions[strings.Clone(m.Entry.Name)] = alpm.Version(strings.Clone(string(m.Entry.Version)))
		for _, p := range m.Entry.Provides {
			p = strings.Clone(p)
			name, _, _ := strings.Cut(p, "=")
			i.provides[name] = append(i.provides[name], p)
		}
	}
	return i, nil
}

func (i *index) satisfies(dep alpm.Dep) bool {
	if version, ok := i.versions[dep.Name]; ok && dep.SatisfiedBy(dep.Name, version, nil) {
		return true
	}
	return dep.SatisfiedBy("", "", i.provides[dep.Name])
}

package repo

import (
	"fmt"

	"serene/internal/config"
)

// OpenConfigured returns the Store that a configuration describes: its state
// directory, its repositories with their rules, its limits. up may be nil.
func OpenConfigured(c *config.Config, up Upstream) (*Store, error) {
	var specs []Spec
	for _, r := range c.Repos {
		specs = append(specs, specOf(r))
	}
	s, err := Open(string(c.State), specs, Options{
		MaxPackage: int64(c.Receive.MaxPackage),
		MaxFiles:   int(c.Receive.MaxFiles),
		MinFree:    int64(c.Receive.MinFree),
		Upstream:   up,
	})
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return s, nil
}

func specOf(r config.Repo) Spec {
	spec := Spec{
		Name:  string(r.Name),
		Rules: Rules{Depends: Level(r.Depends), Files: Level(r.Files), Claims: Level(r.Claims)},
	}
	for _, arch := range r.Arches {
		spec.Arches = append(spec.Arches, string(arch))
	}
	for _, glob := range r.Grants {
		spec.Rules.Grants = append(spec.Rules.Grants, string(glob))
	}
	return spec
}

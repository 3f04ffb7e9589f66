package serve

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"serene/internal/config"
	"serene/internal/repo"
	"serene/internal/upstream"
)

// openStore opens the repositories the configuration lists, with their rules.
func openStore(c *config.Config, up repo.Upstream) (*repo.Store, error) {
	var specs []repo.Spec
	for _, r := range c.Repos {
		specs = append(specs, specOf(r))
	}
	store, err := repo.Open(string(c.State), specs, repo.Options{
		MaxPackage: int64(c.Receive.MaxPackage),
		MinFree:    int64(c.Receive.MinFree),
		Upstream:   up,
	})
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return store, nil
}

func specOf(r config.Repo) repo.Spec {
	spec := repo.Spec{
		Name:  string(r.Name),
		Rules: repo.Rules{Depends: repo.Level(r.Depends), Files: repo.Level(r.Files), Claims: repo.Level(r.Claims)},
	}
	for _, arch := range r.Arches {
		spec.Arches = append(spec.Arches, string(arch))
	}
	for _, glob := range r.Grants {
		spec.Rules.Grants = append(spec.Rules.Grants, string(glob))
	}
	return spec
}

// openUpstream opens the copies of the databases the rules ask, of every
// architecture there is a repository for.
func openUpstream(c *config.Config, log *slog.Logger) (*upstream.Set, error) {
	opt := upstream.Options{Dir: filepath.Join(string(c.State), "upstream"), Every: c.Serve.UpstreamRefresh.Std(), Log: log}
	for _, url := range c.Serve.Upstream {
		opt.URLs = append(opt.URLs, string(url))
	}
	for _, r := range c.Repos {
		for _, arch := range r.Arches {
			if !slices.Contains(opt.Arches, string(arch)) {
				opt.Arches = append(opt.Arches, string(arch))
			}
		}
	}
	up, err := upstream.Open(opt)
	if err != nil {
		return nil, fmt.Errorf("open upstream: %w", err)
	}
	return up, nil
}

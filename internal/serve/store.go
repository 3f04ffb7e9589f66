package serve

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"serene/internal/config"
	"serene/internal/upstream"
)

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

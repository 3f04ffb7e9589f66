package receive

import (
	"context"
	"fmt"
	"strings"

	"serene/internal/config"
)

// String is the list as a key's line gives it.
func (s Set) String() string { return strings.Join(s.words, ",") }

// list is s for --json: nil where there is no limit.
func (s Set) list() []string {
	if s.all {
		return nil
	}
	return s.words
}

// has words what the caller may do, in the flags of its line.
func (c Caller) has() string {
	given := c.Rights.flags()
	if given == nil {
		return "this key has all rights"
	}
	return "this key has " + strings.Join(given, " ")
}

// helloRow tells a key who it is. A limit that is not set is left out.
type helloRow struct {
	Name       string   `json:"name"`
	Key        string   `json:"key"`
	Verbs      []string `json:"verbs"`
	Repos      []string `json:"repos"`
	Packages   []string `json:"packages,omitempty"`
	Arches     []string `json:"arches,omitempty"`
	MaxSize    int64    `json:"max_size,omitempty"`
	Rate       string   `json:"rate,omitempty"`
	MaxPackage int64    `json:"max_package,omitempty"`
	URL        string   `json:"url"`
	Version    string   `json:"version"`
}

func (c *call) helloRow() helloRow {
	r := c.by.Rights
	row := helloRow{
		Name: c.by.name(), Key: c.by.Key,
		Packages: r.Packages.list(), Arches: r.Arches.list(),
		MaxSize: r.MaxSize, Rate: r.Rate.String(), MaxPackage: c.MaxPackage,
		URL: c.URL, Version: c.Version,
	}
	for _, v := range verbs() {
		if r.allowVerb(&v) {
			row.Verbs = append(row.Verbs, v.name)
		}
	}
	for _, spec := range c.Store.Specs() {
		if c.may(access{repo: spec.Name}) {
			row.Repos = append(row.Repos, spec.Name)
		}
	}
	return row
}

func (h helloRow) String() string {
	var b strings.Builder
	for _, f := range [][2]string{
		{"name", oneLine(h.Name)},
		{"key", h.Key},
		{"verbs", strings.Join(h.Verbs, " ")},
		{"repos", strings.Join(h.Repos, " ")},
		{"packages", strings.Join(h.Packages, " ")},
		{"arches", strings.Join(h.Arches, " ")},
		{"max-size", size(h.MaxSize)},
		{"rate", h.Rate},
		{"max-package", size(h.MaxPackage)},
		{"url", h.URL},
		{"version", h.Version},
	} {
		if f[1] != "" {
			fmt.Fprintf(&b, "%-11s %s\n", f[0], f[1])
		}
	}
	return b.String()
}

// size words a limit, "" where there is none.
func size(n int64) string {
	if n == 0 {
		return ""
	}
	return config.Size(n).String()
}

func hello(_ context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	row := c.helloRow()
	return c.emit(row, row.String())
}

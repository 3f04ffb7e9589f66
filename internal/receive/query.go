package receive

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// row is one package in one database, as --json prints it. Arch is the
// database's.
type row struct {
	Name     string `json:"name"`
	Base     string `json:"base"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	Repo     string `json:"repo"`
	Gen      int64  `json:"gen"`
	Filename string `json:"filename"`
	CSize    int64  `json:"csize"`
	SHA256   string `json:"sha256"`
	Desc     string `json:"desc,omitempty"`
}

// match is a package and the view it was found in.
type match struct {
	view  *repo.View
	entry *alpm.Entry
}

func (m match) row() row {
	e := m.entry
	return row{e.Name, e.Base, string(e.Version), m.view.Arch, m.view.Repo, m.view.Gen, e.FileName, e.CSize, e.SHA256, e.Desc}
}

// String is the line list prints, worded as in a receipt.
func (m match) String() string {
	return fmt.Sprintf("%s/%s %s %s", m.view.Repo, m.view.Arch, m.entry.Name, m.entry.Version)
}

// source is the repository that a reading verb means: the one --repo names, or
// the first the caller may see. One it may not see looks absent.
func (c *call) source() (repo.Spec, error) {
	name := c.flags.value("repo")
	for _, spec := range c.Store.Specs() {
		if (name == "" || name == spec.Name) && c.may(access{repo: spec.Name}) {
			return spec, nil
		}
	}
	if name == "" {
		return repo.Spec{}, refuse(repo.ErrNotFound, "no repository")
	}
	return repo.Spec{}, refuse(repo.ErrNotFound, "no repository %s", name)
}

// views are the databases that a reading verb means, of the architecture
// --arch names or of each.
func (c *call) views() ([]*repo.View, error) {
	spec, err := c.source()
	if err != nil {
		return nil, err
	}
	return c.viewsOf(spec)
}

func (c *call) viewsOf(spec repo.Spec) ([]*repo.View, error) {
	only := c.flags.value("arch")
	var views []*repo.View
	for _, arch := range spec.Arches {
		if only != "" && only != arch || !c.may(access{repo: spec.Name, arch: arch}) {
			continue
		}
		v, err := c.Store.View(spec.Name, arch)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	if views == nil {
		return nil, refuse(repo.ErrNotFound, "no repository %s", strings.TrimRight(spec.Name+"/"+only, "/"))
	}
	return views, nil
}

// mayFind asks whether the caller may see the package e in v.
func (c *call) mayFind(v *repo.View, e *alpm.Entry) bool {
	name := e.Name
	if repo.IsDebug(v.Repo) {
		name = strings.TrimSuffix(name, repo.DebugSuffix)
	}
	return c.may(access{repo: v.Repo, arch: v.Arch, base: e.Base, name: name})
}

// all yields every package in views that the caller may see.
func (c *call) all(views []*repo.View) iter.Seq[match] {
	return func(yield func(match) bool) {
		for _, v := range views {
			for e := range v.Entries() {
				if c.mayFind(v, e) && !yield(match{v, e}) {
					return
				}
			}
		}
	}
}

// find returns the package called name from each database it is in.
func (c *call) find(name string) ([]match, error) {
	views, err := c.views()
	if err != nil {
		return nil, err
	}
	var found []match
	for _, v := range views {
		if e := v.Find(name); e != nil && c.mayFind(v, e) {
			found = append(found, match{v, e})
		}
	}
	if found != nil {
		return found, nil
	}
	var names []string
	for m := range c.all(views) {
		names = append(names, m.entry.Name)
	}
	if near := nearest(name, names); near != "" {
		return nil, refuse(repo.ErrNotFound, "no such package in %s: did you mean %s?", views[0].Repo, near)
	}
	return nil, refuse(repo.ErrNotFound, "no such package in %s", views[0].Repo)
}

func list(_ context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	views, err := c.views()
	if err != nil {
		return err
	}
	for m := range c.all(views) {
		if err := c.emit(m.row(), m.String()+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func search(_ context.Context, c *call) error {
	if len(c.args) == 0 {
		return c.misused("no WORD given")
	}
	views, err := c.views()
	if err != nil {
		return err
	}
	var words []string
	for _, arg := range c.args {
		words = append(words, strings.ToLower(arg))
	}
	for m := range c.all(views) {
		text := strings.ToLower(m.entry.Name + "\n" + m.entry.Desc)
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			continue
		}
		line := m.String() + "\n"
		if m.entry.Desc != "" {
			line += "    " + m.entry.Desc + "\n"
		}
		if err := c.emit(m.row(), line); err != nil {
			return err
		}
	}
	return nil
}

// fileRow is one path in a package.
type fileRow struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
	Repo string `json:"repo"`
	Path string `json:"path"`
}

func files(_ context.Context, c *call) error {
	name, err := c.oneOperand("NAME")
	if err != nil {
		return err
	}
	found, err := c.find(name)
	if err != nil {
		return err
	}
	v := found[0].view
	paths, err := v.Files(name)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := c.emit(fileRow{name, v.Arch, v.Repo, path}, path+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// statusRow is the state of one database.
type statusRow struct {
	Repo     string    `json:"repo"`
	Arch     string    `json:"arch"`
	Gen      int64     `json:"gen"`
	Time     time.Time `json:"time,omitzero"`
	Packages int       `json:"packages"`
	CSize    int64     `json:"csize"` // of all package files together
}

func (s statusRow) String() string {
	line := fmt.Sprintf("%s/%s gen %d packages %d size %s", s.Repo, s.Arch, s.Gen, s.Packages, formatBytes(s.CSize))
	if s.Time.IsZero() {
		return line
	}
	return line + " published " + s.Time.UTC().Format(time.RFC3339)
}

// status shows every database the caller may see, or those that the flags
// name.
func status(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	specs := slices.DeleteFunc(c.Store.Specs(), func(s repo.Spec) bool { return !c.may(access{repo: s.Name}) })
	if c.flags.on("repo") {
		spec, err := c.source()
		if err != nil {
			return err
		}
		specs = []repo.Spec{spec}
	}
	for _, spec := range specs {
		views, err := c.viewsOf(spec)
		if err != nil {
			return err
		}
		for _, v := range views {
			if err := c.emitStatus(v); err != nil {
				return err
			}
		}
	}
	if c.flags.on("repo") || c.flags.on("arch") {
		return nil
	}
	if err := c.emitUpstream(); err != nil {
		return err
	}
	return c.emitBuilders(ctx)
}

func (c *call) emitStatus(v *repo.View) error {
	s := statusRow{Repo: v.Repo, Arch: v.Arch, Gen: v.Gen, Time: v.Time}
	for m := range c.all([]*repo.View{v}) {
		s.Packages++
		s.CSize += m.entry.CSize
	}
	return c.emit(s, s.String()+"\n")
}

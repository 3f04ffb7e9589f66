package repo

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// draft is a set of databases in change: what is published, under what the
// transactions so far add and remove.
type draft struct {
	store    *Store
	load     func(place) (*database, error)
	overlays map[place]*overlay
	holds    map[string]map[string]Hold // by repository, those asked for so far
}

type overlay struct {
	base   *database
	add    map[string]addition
	remove map[string]bool
}

func (s *Store) newDraft(load func(place) (*database, error)) *draft {
	return &draft{
		store:    s,
		load:     load,
		overlays: make(map[place]*overlay),
		holds:    make(map[string]map[string]Hold),
	}
}

// fork is a draft to try changes on.
func (d *draft) fork() *draft {
	f := d.store.newDraft(d.load)
	for p, o := range d.overlays {
		f.overlays[p] = &overlay{base: o.base, add: maps.Clone(o.add), remove: maps.Clone(o.remove)}
	}
	for repo, holds := range d.holds {
		f.holds[repo] = maps.Clone(holds)
	}
	return f
}

// held is what is held in repo. The draft may change it.
func (d *draft) held(repo string) (map[string]Hold, error) {
	if holds := d.holds[repo]; holds != nil {
		return holds, nil
	}
	holds, err := d.store.Holds(repo)
	if err == nil {
		d.holds[repo] = holds
	}
	return holds, err
}

func (d *draft) at(p place) (*overlay, error) {
	if o := d.overlays[p]; o != nil {
		return o, nil
	}
	base, err := d.load(p)
	if err != nil {
		return nil, err
	}
	o := &overlay{base: base, add: make(map[string]addition), remove: make(map[string]bool)}
	d.overlays[p] = o
	return o, nil
}

// find returns the package called name as the draft has it.
func (o *overlay) find(name string) *alpm.Entry {
	if a, ok := o.add[name]; ok {
		return a.entry
	}
	if o.remove[name] {
		return nil
	}
	return o.base.byName[name]
}

func (o *overlay) changed() bool { return len(o.add)+len(o.remove) > 0 }

// entries yields the packages as the draft has them.
func (o *overlay) entries() iter.Seq[*alpm.Entry] {
	return func(yield func(*alpm.Entry) bool) {
		for _, a := range o.add {
			if !yield(a.entry) {
				return
			}
		}
		for name, e := range o.base.byName {
			if o.find(name) == e && !yield(e) {
				return
			}
		}
	}
}

// result is the database with the changes done.
func (o *overlay) result() (*database, error) {
	var add []addition
	for _, a := range o.add {
		add = append(add, a)
	}
	var remove []string
	for name := range o.remove {
		remove = append(remove, name)
	}
	return o.base.edit(add, remove)
}

// change is one package entering or leaving one database, or found there.
type change struct {
	place  place
	action string      // as in Receipt
	entry  *alpm.Entry // what enters, leaves or is there
	files  []byte      // %FILES% of what enters
	origin string      // directory the file of what enters is found in, "" when it is in the pool
	digest []byte      // state of that file's hash, nil where it has to be read
}

// file names the package in its repository, for all architectures.
func (c *change) file() string { return c.place.repo + "/" + c.entry.FileName }

// decision is what a request comes to.
type decision struct {
	repo    string // of the holds
	changes []change
	hold    map[string]Hold
	unhold  []string
}

// idle reports whether a decision changes nothing.
func (dec *decision) idle() bool {
	return len(dec.hold)+len(dec.unhold) == 0 &&
		!slices.ContainsFunc(dec.changes, func(c change) bool { return c.action != Already })
}

// do puts a decision into the draft it was made on.
func (d *draft) do(dec *decision) {
	for _, c := range dec.changes {
		o := d.overlays[c.place]
		switch name := c.entry.Name; c.action {
		case Published:
			o.add[name] = addition{c.entry, c.files}
		case Removed:
			delete(o.add, name)
			o.remove[name] = true
		}
	}
	rec := Record{Hold: dec.hold, Unhold: dec.unhold}
	rec.applyTo(d.holds[dec.repo])
}

// decide applies the rules to a request: what it comes to on this draft, which
// is not changed, or why it is refused as a whole.
func (d *draft) decide(req *request) (*decision, error) {
	dec := &decision{repo: req.Repo}
	add := func(changes []change, err error) error {
		dec.changes = append(dec.changes, changes...)
		return err
	}
	for _, name := range req.Remove {
		if err := add(d.decideRemove(req.Repo, name)); err != nil {
			return nil, err
		}
	}
	for _, p := range req.Packages {
		if err := add(d.decidePut(req, p)); err != nil {
			return nil, err
		}
	}
	if req.Promote != nil {
		if err := add(d.decidePromote(req)); err != nil {
			return nil, err
		}
	}
	if req.Rollback != nil {
		if err := add(d.decideRollback(req)); err != nil {
			return nil, err
		}
	}
	return dec, d.decideHolds(req, dec)
}

func (d *draft) decideRemove(repo, name string) ([]change, error) {
	spec, ok := d.store.Spec(repo)
	if !ok {
		return nil, refuse(ErrNotFound, "no repository %s", repo)
	}
	var changes []change
	for _, arch := range spec.Arches {
		p := place{repo, arch}
		o, err := d.at(p)
		if err != nil {
			return nil, err
		}
		if e := o.find(name); e != nil {
			changes = append(changes, change{place: p, action: Removed, entry: e})
		}
	}
	if changes == nil {
		return nil, refuse(ErrNotFound, "no package %s in %s", name, repo)
	}
	return changes, nil
}

func (d *draft) decidePut(req *request, pkg *alpm.Package) ([]change, error) {
	spec, err := d.store.target(req.Repo, pkg)
	if err != nil {
		return nil, err
	}
	entry := pkg.Entry()
	if err := entry.Check(); err != nil {
		return nil, refuse(ErrContent, "%s: %s", pkg.File, err)
	}
	arches := spec.arches(entry.Arch)
	if len(arches) == 0 {
		return nil, refuse(ErrContent, "%s: arch %s: %s takes %s and any",
			pkg.File, entry.Arch, spec.Name, strings.Join(spec.Arches, ", "))
	}
	put := change{entry: entry, files: alpm.AppendFiles(nil, pkg.Files), origin: req.dir, digest: pkg.Digest}
	var changes []change
	for _, arch := range arches {
		put.place = place{spec.Name, arch}
		if put.action, err = d.admit(put, req.Downgrade); err != nil {
			return nil, err
		}
		changes = append(changes, put)
	}
	return changes, nil
}

// admit says what putting in a package comes to on this draft.
func (d *draft) admit(put change, downgrade bool) (action string, err error) {
	o, err := d.at(put.place)
	if err != nil {
		return "", err
	}
	if action, err = supersede(o.find(put.entry.Name), put.entry, downgrade); err != nil {
		return "", refuse(ErrConflict, "%s: %s", put.entry.FileName, err)
	}
	if action == Already {
		return action, nil
	}
	holds, err := d.held(put.place.repo)
	if err != nil {
		return "", err
	}
	return action, held(holds, put.entry)
}

// supersede says what putting next over old comes to. Same version means the
// same string: clients keep packages by file name, so its bytes may never
// change. Versions that only compare equal would be taken for one another.
func supersede(old, next *alpm.Entry, downgrade bool) (action string, err error) {
	if old == nil {
		return Published, nil
	}
	if old.Base != next.Base {
		return "", refuse(ErrConflict, "%s belongs to package base %s, not %s; remove it first", old.Name, old.Base, next.Base)
	}
	if old.Version == next.Version && old.Arch == next.Arch {
		if old.SHA256 == next.SHA256 {
			return Already, nil
		}
		return "", refuse(ErrConflict, "%s is published with other bytes; raise pkgrel", next.Version)
	}
	switch order := next.Version.Compare(old.Version); {
	case order == 0:
		return "", refuse(ErrConflict, "%s is no newer than %s %s, which is published; raise pkgrel", next.Version, old.Arch, old.Version)
	case order < 0 && !downgrade:
		return "", refuse(ErrConflict, "%s is older than %s, which is published (--downgrade allows it)", next.Version, old.Version)
	}
	return Published, nil
}

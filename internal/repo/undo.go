package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"serene/internal/alpm"
)

// promotion moves packages between repositories: out of From, into the
// transaction's.
type promotion struct {
	From  string   `json:"from"`
	Names []string `json:"names"`
}

// rollback asks for the content of an earlier generation, or for an earlier
// version of one package. It makes a new generation; time does not run back.
type rollback struct {
	Gen     int64        `json:"gen,omitempty"`
	Name    string       `json:"name,omitempty"`
	Version alpm.Version `json:"version,omitempty"`
}

// Promote asks for the packages called names to move here from repository from.
func (t *Tx) Promote(from string, names ...string) {
	t.req.Promote = &promotion{from, names}
}

// RollbackTo asks for the content of generation gen.
func (t *Tx) RollbackTo(gen int64) { t.req.Rollback = &rollback{Gen: gen} }

// RollbackPackage asks for version of the package called name.
func (t *Tx) RollbackPackage(name string, version alpm.Version) {
	t.req.Rollback = &rollback{Name: name, Version: version}
}

// Hold keeps new versions of the packages, or package bases, called names out
// until Unhold, and says why. Where the transaction rolls back, no names means
// those it takes back.
func (t *Tx) Hold(why string, names ...string) {
	t.req.Hold = &Hold{Why: why, By: t.req.By, Since: t.req.Created}
	t.req.HoldNames = names
}

// Unhold ends the holds of names.
func (t *Tx) Unhold(names ...string) { t.req.Unhold = names }

func (d *draft) decidePromote(req *request) ([]change, error) {
	from, ok := d.store.Spec(req.Promote.From)
	if !ok || from.Name == req.Repo {
		return nil, refuse(ErrNotFound, "no other repository %s to promote from", req.Promote.From)
	}
	to, ok := d.store.Spec(req.Repo)
	if !ok {
		return nil, refuse(ErrNotFound, "no repository %s", req.Repo)
	}
	var changes []change
	for _, name := range req.Promote.Names {
		moved := len(changes)
		for _, arch := range from.Arches {
			c, err := d.decideMove(req, place{from.Name, arch}, place{to.Name, arch}, name)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c...)
		}
		if moved == len(changes) {
			return nil, refuse(ErrNotFound, "no package %s in %s", name, from.Name)
		}
	}
	return changes, nil
}

// decideMove moves one package between two databases, nothing when it is not
// in the first.
func (d *draft) decideMove(req *request, from, to place, name string) ([]change, error) {
	if IsDebug(from.repo) != IsDebug(to.repo) {
		return nil, refuse(ErrConflict, "%s: debug packages and others have repositories of their own", name)
	}
	src, err := d.at(from)
	if err != nil {
		return nil, err
	}
	e := src.find(name)
	if e == nil {
		return nil, nil
	}
	if spec, _ := d.store.Spec(to.repo); !slices.Contains(spec.Arches, to.arch) {
		return nil, refuse(ErrContent, "%s has no %s, which %s is for", to.repo, to.arch, e.FileName)
	}
	files, err := src.files(e)
	if err != nil {
		return nil, err
	}
	put := change{place: to, entry: e, files: files, origin: d.store.pool(from.repo)}
	if put.action, err = d.admit(put, req.Downgrade); err != nil {
		return nil, err
	}
	return []change{put, {place: from, action: Removed, entry: e}}, nil
}

func (d *draft) decideRollback(req *request) ([]change, error) {
	spec, ok := d.store.Spec(req.Repo)
	if !ok {
		return nil, refuse(ErrNotFound, "no repository %s", req.Repo)
	}
	if req.Rollback.Gen == 0 {
		return d.decideOldVersion(spec, req.Rollback)
	}
	var changes []change
	for _, arch := range spec.Arches {
		p := place{spec.Name, arch}
		gen, err := d.store.generationAt(p, req.Rollback.Gen)
		if err != nil {
			return nil, err
		}
		then, err := d.store.loadWhole(p, gen)
		if err != nil {
			return nil, err
		}
		back, err := d.decideDiff(p, then)
		if err != nil {
			return nil, err
		}
		changes = append(changes, back...)
	}
	return changes, nil
}

// generationAt is the generation of p that was current when its repository's
// was gen.
func (s *Store) generationAt(p place, gen int64) (int64, error) {
	last, newest := int64(0), int64(0)
	err := s.History(p.repo, func(rec *Record) {
		newest = rec.Gen
		if rec.Gen <= gen && slices.Contains(rec.Arches, p.arch) {
			last = rec.Gen
		}
	})
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(s.genDir(p, last)); last == 0 || gen > newest || errors.Is(err, fs.ErrNotExist) {
		return 0, refuse(ErrNotFound, "generation %d of %s is not kept", gen, p)
	}
	return last, nil
}

// decideDiff makes the draft hold what then holds.
func (d *draft) decideDiff(p place, then *database) ([]change, error) {
	o, err := d.at(p)
	if err != nil {
		return nil, err
	}
	old := &overlay{base: then}
	var changes []change
	for _, name := range slices.Sorted(maps.Keys(then.byName)) {
		e, now := then.byName[name], o.find(name)
		if now != nil && now.FileName == e.FileName {
			continue
		}
		files, err := old.files(e)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{place: p, action: Published, entry: e, files: files})
	}
	for _, name := range slices.Sorted(maps.Keys(o.base.byName)) {
		if now := o.find(name); now != nil && then.byName[name] == nil {
			changes = append(changes, change{place: p, action: Removed, entry: now})
		}
	}
	return changes, nil
}

// decideOldVersion puts back a version of a package that was published before
// and whose file is still in the pool.
func (d *draft) decideOldVersion(spec Spec, want *rollback) ([]change, error) {
	items := make(map[string]JournalItem) // by architecture
	err := d.store.History(spec.Name, func(rec *Record) {
		for _, it := range rec.Add {
			if it.Name == want.Name && it.Version == string(want.Version) {
				items[it.In] = it
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, refuse(ErrNotFound, "%s %s was never in %s", want.Name, want.Version, spec.Name)
	}
	var changes []change
	for _, arch := range slices.Sorted(maps.Keys(items)) {
		p := place{spec.Name, arch}
		o, err := d.at(p)
		if err != nil {
			return nil, err
		}
		back, err := d.store.reread(spec.Name, items[arch])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", items[arch].File, contentError(err))
		}
		c := change{place: p, action: Published, entry: back.entry, files: back.files}
		if now := o.find(want.Name); now != nil && now.FileName == back.entry.FileName {
			c.action = Already
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// files is the %FILES% text of e as the draft has it.
func (o *overlay) files(e *alpm.Entry) ([]byte, error) {
	if a, ok := o.add[e.Name]; ok {
		return a.files, nil
	}
	for _, g := range o.base.groups {
		if !g.holds(e) || g.files == nil {
			continue
		}
		for m, err := range alpm.ReadDatabase(framed(g.files)) {
			if err != nil {
				return nil, err
			}
			if m.Entry.Name == e.Name {
				return m.Files, nil
			}
		}
	}
	return nil, nil // the admission side keeps no file lists, and needs none
}

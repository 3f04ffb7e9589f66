package repo

import (
	"os"
	"path/filepath"
	"slices"

	"serene/internal/alpm"
)

// What a repair does.
const (
	repairDatabase  = "make the database again from the pool and the journal"
	repairSignature = "sign again"
	repairJournal   = "set the journal aside and begin it anew from what is published"
	repairHolds     = "write what is held again from the journal"
)

// Repair makes good what can be derived: databases from the pool and the
// journal, what is held from the journal, signatures that are missing or bad.
// What it cannot mend it leaves out, and logs.
func (w *Writer) Repair(problems []Problem) error {
	if slices.ContainsFunc(problems, func(bad Problem) bool { return bad.Repair == repairJournal || bad.Repair == repairHolds }) {
		if err := w.open(); err != nil {
			return err
		}
	}
	fresh := make(map[string]map[place]*generation)
	for _, bad := range problems {
		p := place{bad.Repo, bad.Arch}
		switch bad.Repair {
		case repairSignature:
			if err := w.signAgain(p, bad.File); err != nil {
				return err
			}
		case repairDatabase:
			if fresh[p.repo] == nil {
				fresh[p.repo] = make(map[place]*generation)
			}
			if fresh[p.repo][p] != nil {
				continue
			}
			db, err := w.rebuild(p)
			if err != nil {
				return err
			}
			fresh[p.repo][p] = &generation{db: db}
		}
	}
	for repo, gens := range fresh {
		if err := w.commitFresh(repo, gens, &Record{Actor: Actor{Verb: "start"}}); err != nil {
			return err
		}
	}
	return nil
}

// signAgain replaces the signature of a published package.
func (w *Writer) signAgain(p place, file string) error {
	name, err := alpm.ParseFileName(file)
	if err != nil {
		return err
	}
	e := w.current[p].db.byName[name.Name]
	if e == nil || e.FileName != file {
		return nil // not published any more
	}
	if err := os.Remove(filepath.Join(w.store.pool(p.repo), file+".sig")); err != nil && !os.IsNotExist(err) {
		return err
	}
	_, err = w.enterPool(change{place: p, entry: e})
	return err
}

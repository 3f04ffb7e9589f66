package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"serene/internal/durable"
)

// open brings every repository from whatever a crash left to what its journal
// says, before the first refresh.
func (w *Writer) open() error {
	w.journals = make(map[string]*journal)
	w.current = make(map[place]*generation)
	w.committed = make(map[string][]Receipt)
	if err := w.publishKeys(); err != nil {
		return err
	}
	if err := w.completeCommit(); err != nil {
		return err
	}
	if err := w.sweepInbox(); err != nil {
		return err
	}
	var err error
	if w.waiting, err = w.pending(); err != nil {
		return err
	}
	for _, spec := range w.store.specs {
		if err := w.openRepo(spec); err != nil {
			return fmt.Errorf("repository %s: %w", spec.Name, err)
		}
	}
	w.torn = false
	return nil
}

// sweepInbox removes what discard was removing.
func (w *Writer) sweepInbox() error {
	left, err := filepath.Glob(w.store.path("inbox", ".done-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// past is what a journal says of its repository.
type past struct {
	journal *journal
	last    map[string]int64 // by architecture: its last generation
	holds   map[string]Hold
	aside   string // file a damaged journal was moved to, "" when it was whole
}

func (w *Writer) openRepo(spec Spec) error {
	if err := durable.MkdirAll(w.store.pool(spec.Name), 0o770); err != nil {
		return err
	}
	past, err := w.readPast(spec)
	if err != nil {
		return err
	}
	w.journals[spec.Name] = past.journal
	if err := w.writeHolds(spec.Name, past.holds); err != nil {
		return err
	}
	fresh := make(map[place]*generation)
	for _, arch := range spec.Arches {
		p := place{spec.Name, arch}
		if err := w.openPlace(p, past.last[arch], fresh); err != nil {
			return err
		}
	}
	rec := &Record{Actor: Actor{Verb: "start"}, Aside: past.aside}
	if past.last == nil {
		rec.Hold = past.holds
	}
	return w.commitFresh(spec.Name, fresh, rec)
}

// readPast reads the journal of spec. One that is damaged is set aside, and
// begun anew as where there is none: from what is published, and held.
func (w *Writer) readPast(spec Spec) (*past, error) {
	was := &past{last: make(map[string]int64), holds: make(map[string]Hold)}
	var replayed []*Record
	j, err := openJournal(w.store.journal(spec.Name), func(rec *Record) {
		rec.applyTo(was.holds)
		for _, arch := range rec.Arches {
			was.last[arch] = rec.Gen
		}
		if slices.Contains(w.waiting, rec.Tx) {
			replayed = append(replayed, rec)
		}
	})
	switch {
	case errors.Is(err, errDamaged):
		return w.beginAnew(spec, err)
	case err != nil:
		return nil, err
	case j.end == 0:
		return w.beginAnew(spec, nil)
	}
	for _, rec := range replayed {
		w.remember(spec.Name, rec)
	}
	was.journal = j
	return was, nil
}

// beginAnew is the past of a repository whose journal is damaged, or is not
// there. Generations go on from the highest there is, because clients and
// caches know what those before it are.
func (w *Writer) beginAnew(spec Spec, damage error) (*past, error) {
	path := w.store.journal(spec.Name)
	was := new(past)
	if damage != nil {
		was.aside = filepath.Base(path) + ".broken-" + newID(time.Now())
		w.log.Error("JOURNAL DAMAGED: set aside, begun anew from what is published", "repo", spec.Name, "file", was.aside, "err", damage)
		if err := durable.Rename(path, filepath.Join(filepath.Dir(path), was.aside)); err != nil {
			return nil, err
		}
	}
	var err error
	if was.holds, err = w.store.readHolds(spec.Name); err != nil {
		if damage != nil || !errors.Is(err, fs.ErrNotExist) {
			w.log.Error("holds lost", "repo", spec.Name, "err", err)
		}
		was.holds = make(map[string]Hold)
	}
	was.journal = &journal{path: path}
	for _, arch := range spec.Arches {
		for n, made := range w.store.generations(place{spec.Name, arch}) {
			was.journal.notBefore(n, made)
		}
	}
	return was, nil
}

// generations lists the generations of p that are there, and when they were
// made.
func (s *Store) generations(p place) map[int64]time.Time {
	made := make(map[int64]time.Time)
	eachFile(filepath.Dir(s.genDir(p, 0)), func(info fs.FileInfo) {
		if n, err := strconv.ParseInt(info.Name(), 10, 64); err == nil {
			made[n] = info.ModTime()
		}
	})
	return made
}

// remember keeps the receipts of a transaction that was committed but not
// answered.
func (w *Writer) remember(repo string, rec *Record) {
	receipts := w.committed[rec.Tx]
	note := func(action string, items []JournalItem) {
		for _, it := range items {
			receipts = append(receipts, Receipt{
				Action: action, Repo: repo, Arch: it.In, Name: it.Name, Base: it.Base,
				Version: it.Version, File: it.File, Gen: rec.Gen, SHA256: it.SHA256})
		}
	}
	note(Removed, rec.Remove)
	note(Published, rec.Add)
	w.committed[rec.Tx] = receipts
}

// openPlace loads generation gen of p, which the journal names as its last, and
// points current at it. Without a journal gen is 0, and what current points at
// counts, or else the highest generation. Where that generation cannot be had,
// is signed by a key of before, or there is none, openPlace enters what is to
// be the next one into fresh.
func (w *Writer) openPlace(p place, gen int64, fresh map[place]*generation) error {
	if err := durable.MkdirAll(filepath.Join(w.store.archDir(p), "gen"), 0o770); err != nil {
		return err
	}
	if err := w.store.mirrorDatabases(p); err != nil {
		return err
	}
	pointed, err := w.store.currentGen(p)
	if err != nil || pointed > gen {
		w.log.Warn("the journal does not know the current generation", "repo", p.repo, "arch", p.arch, "gen", pointed, "err", err)
	}
	found := gen
	if gen == 0 || pointed > gen {
		found = w.store.published(p, pointed)
	}
	if found == 0 {
		fresh[p] = &generation{db: emptyDatabase}
		return nil
	}
	db, at, err := w.loadGeneration(p, found)
	w.journals[p.repo].notBefore(found, at)
	switch {
	case errors.Is(err, errRetiredKey):
		w.log.Info("signing the databases again: their key is retired", "repo", p.repo, "arch", p.arch, "gen", found)
		fresh[p] = &generation{db: db}
	case err == nil && found != gen: // the journal is not that of this directory
		fresh[p] = &generation{db: db}
	case err == nil:
		g := &generation{gen: gen, at: at, db: db}
		if w.current[p] = g; pointed != gen {
			return w.reflip(p, g)
		}
	default:
		w.log.Error("rebuilding the database from the pool and the journal", "repo", p.repo, "arch", p.arch, "gen", found, "err", err)
		if db, err = w.rebuild(p); err != nil {
			return err
		}
		fresh[p] = &generation{db: db}
	}
	return nil
}

// published is the generation of p that clients see, as far as the directory
// tells: the one pointed at, or else the highest; 0 when there is none.
func (s *Store) published(p place, pointed int64) int64 {
	all := s.generations(p)
	if _, ok := all[pointed]; ok {
		return pointed
	}
	for n := range all {
		pointed = max(pointed, n)
	}
	return pointed
}

// reflip does again what a crash cut off after the commit.
func (w *Writer) reflip(p place, g *generation) error {
	for e := range (&View{db: g.db}).Entries() {
		if err := w.store.mirrorPackage(p, e); err != nil {
			return err
		}
	}
	return w.flip(p, g)
}

// commitFresh writes and commits generations that were not made by a
// transaction. The record names everything in them, so that a journal may begin
// with it.
func (w *Writer) commitFresh(repo string, fresh map[place]*generation, rec *Record) error {
	if len(fresh) == 0 {
		return nil
	}
	for p, g := range fresh {
		for e := range (&View{db: g.db}).Entries() {
			rec.Add = append(rec.Add, itemOf(p, e))
		}
	}
	return w.commitAside(repo, fresh, rec)
}

// commitAside is commitFresh for generations whose content the journal knows.
func (w *Writer) commitAside(repo string, fresh map[place]*generation, rec *Record) error {
	j := w.journals[repo]
	if rec.Time = time.Now().UTC(); rec.Tx == "" {
		rec.Tx = newID(rec.Time)
	}
	for p, g := range fresh {
		g.gen, g.at = w.nextGen(repo), j.stamp()
		if err := w.writeGeneration(p, g.gen, g.db, g.at); err != nil {
			return err
		}
	}
	lines, err := j.lines(repo, numbered([]*Record{rec}, fresh, j, repo))
	if err != nil {
		return err
	}
	if err := w.commitLines([]journalLines{lines}); err != nil {
		return err
	}
	for p, g := range fresh {
		if err := w.reflip(p, g); err != nil {
			return err
		}
	}
	return nil
}

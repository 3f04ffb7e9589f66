package repo

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// open brings every repository from whatever a crash left to what its journal
// says, before the first refresh.
func (w *Writer) open() error {
	w.journals = make(map[string]*journal)
	w.current = make(map[place]*generation)
	w.replayed = make(map[string]map[string][]Receipt)
	if err := w.publishKey(); err != nil {
		return err
	}
	if err := w.sweepInbox(); err != nil {
		return err
	}
	waiting, err := w.pending()
	if err != nil {
		return err
	}
	for _, spec := range w.store.specs {
		if err := w.openRepo(spec, waiting); err != nil {
			return fmt.Errorf("repository %s: %w", spec.Name, err)
		}
	}
	w.torn = false
	return nil
}

// publishKey leaves the public key where those read it that may not see the
// secret one.
func (w *Writer) publishKey() error {
	key, err := w.signer.PublicKey()
	if err != nil {
		return err
	}
	return durable.WriteFile(w.store.publicKeyFile(), key, 0o664)
}

// sweepInbox removes what discard was removing.
func (w *Writer) sweepInbox() error {
	left, err := filepath.Glob(w.store.path("inbox", ".done-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

func (w *Writer) openRepo(spec Spec, waiting []string) error {
	if err := durable.MkdirAll(w.store.pool(spec.Name), 0o770); err != nil {
		return err
	}
	last := make(map[string]int64) // by architecture: its last generation
	holds := make(map[string]Hold)
	j, err := openJournal(w.store.journal(spec.Name), func(rec *Record) {
		rec.applyTo(holds)
		for _, arch := range rec.Arches {
			last[arch] = rec.Gen
		}
		if slices.Contains(waiting, rec.Tx) {
			w.remember(spec.Name, rec)
		}
	})
	if err != nil {
		return err
	}
	w.journals[spec.Name] = j
	if err := w.store.writeHolds(spec.Name, holds); err != nil {
		return err
	}
	fresh := make(map[place]*generation)
	for _, arch := range spec.Arches {
		p := place{spec.Name, arch}
		if err := w.openPlace(p, last[arch], fresh); err != nil {
			return err
		}
	}
	return w.commitFresh(spec.Name, fresh)
}

// remember keeps the receipts of a transaction that was committed but not
// answered.
func (w *Writer) remember(repo string, rec *Record) {
	if w.replayed[rec.Tx] == nil {
		w.replayed[rec.Tx] = make(map[string][]Receipt)
	}
	note := func(action string, items []JournalItem) {
		for _, it := range items {
			w.replayed[rec.Tx][repo] = append(w.replayed[rec.Tx][repo], Receipt{
				Action: action, Repo: repo, Arch: it.In, Name: it.Name, Base: it.Base,
				Version: it.Version, File: it.File, Gen: rec.Gen, SHA256: it.SHA256})
		}
	}
	note(Removed, rec.Remove)
	note(Published, rec.Add)
}

// openPlace loads generation gen of p, which the journal names as its last,
// and points current at it. Where that generation cannot be had, or there is
// none, it enters what is to be the next one into fresh.
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
	if gen == 0 && pointed == 0 {
		fresh[p] = &generation{db: emptyDatabase}
		return nil
	}
	db, at, err := w.loadGeneration(p, max(gen, pointed))
	switch {
	case err == nil && pointed > gen: // the journal was lost: begin it anew
		j := w.journals[p.repo]
		j.gen, j.modified = max(j.gen, pointed), at
		fresh[p] = &generation{db: db}
	case err == nil:
		g := &generation{gen: gen, at: at, db: db}
		if w.current[p] = g; pointed != gen {
			return w.reflip(p, g)
		}
	default:
		w.log.Error("rebuilding the database from the pool and the journal", "repo", p.repo, "arch", p.arch, "gen", gen, "err", err)
		if db, err = w.rebuild(p); err != nil {
			return err
		}
		fresh[p] = &generation{db: db}
	}
	return nil
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

// commitFresh writes and commits the generations that openPlace asked for.
func (w *Writer) commitFresh(repo string, fresh map[place]*generation) error {
	if len(fresh) == 0 {
		return nil
	}
	rec := &Record{Time: time.Now().UTC(), Tx: newID(time.Now()), Actor: Actor{Verb: "start"}}
	for p, g := range fresh {
		g.gen, g.at = w.nextGen(repo), w.journals[repo].stamp()
		if err := w.writeGeneration(p, g.gen, g.db, g.at); err != nil {
			return err
		}
		for e := range (&View{db: g.db}).Entries() {
			rec.Add = append(rec.Add, itemOf(p, e))
		}
	}
	if err := w.journals[repo].append(numbered([]*Record{rec}, fresh, w.journals[repo], repo)); err != nil {
		return err
	}
	for p, g := range fresh {
		if err := w.reflip(p, g); err != nil {
			return err
		}
	}
	return nil
}

// rebuild makes the database of p again out of the packages the journal says
// are in it. A package that is not whole any more is left out, and said.
func (w *Writer) rebuild(p place) (*database, error) {
	items := make(map[string]JournalItem)
	if _, err := openJournal(w.store.journal(p.repo), func(rec *Record) { replayInto(items, rec, p.arch) }); err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards all
	var all []addition
	err := parallel(slices.Collect(maps.Values(items)), runtime.GOMAXPROCS(0), func(it JournalItem) error {
		a, err := w.store.reread(p.repo, it)
		if err != nil {
			w.log.Error("package lost", "repo", p.repo, "arch", p.arch, "pkg", it.File, "err", err)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return emptyDatabase.edit(all, nil)
}

func replayInto(items map[string]JournalItem, rec *Record, arch string) {
	if rec.Verb == "start" && slices.Contains(rec.Arches, arch) {
		clear(items) // it names everything
	}
	for _, it := range rec.Remove {
		if it.In == arch {
			delete(items, it.Name)
		}
	}
	for _, it := range rec.Add {
		if it.In == arch {
			items[it.Name] = it
		}
	}
}

// reread reads a package of the pool whole.
func (s *Store) reread(repo string, it JournalItem) (addition, error) {
	f, err := open(filepath.Join(s.pool(repo), it.File))
	if err != nil {
		return addition{}, err
	}
	defer f.Close()
	pkg, err := alpm.ReadPackage(f, it.File, s.opt.Limits)
	if err != nil {
		return addition{}, err
	}
	if !strings.EqualFold(pkg.SHA256, it.SHA256) {
		return addition{}, refuse(ErrContent, "sha256 is %s, not %s", pkg.SHA256, it.SHA256)
	}
	return addition{pkg.Entry(), alpm.AppendFiles(nil, pkg.Files)}, nil
}

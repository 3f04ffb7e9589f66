package repo

import (
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"serene/internal/alpm"
)

// rebuild makes the database of p again out of the packages the journal says
// are in it. A package that is not whole any more is left out, and said.
func (w *Writer) rebuild(p place) (*database, error) {
	items := make(map[string]JournalItem)
	if _, err := openJournal(w.store.journal(p.repo), func(rec *Record) { replayInto(items, rec, p.arch) }); err != nil {
		return nil, err
	}
	if w.journals[p.repo].end == 0 {
		w.log.Error("there is no journal: taking the newest of every package in the pool", "repo", p.repo, "arch", p.arch)
		items = w.store.newestInPool(p)
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

// newestInPool lists the newest version of every package in the pool that p may
// hold, by the names of the files.
func (s *Store) newestInPool(p place) map[string]JournalItem {
	items := make(map[string]JournalItem)
	eachFile(s.pool(p.repo), func(info fs.FileInfo) {
		f, err := alpm.ParseFileName(info.Name())
		if err != nil || f.Arch != p.arch && f.Arch != "any" {
			return
		}
		if old, ok := items[f.Name]; !ok || f.Version.Compare(alpm.Version(old.Version)) > 0 {
			items[f.Name] = JournalItem{Name: f.Name, Version: string(f.Version), In: p.arch, File: info.Name()}
		}
	})
	return items
}

// replayInto keeps items, by name, as a record changes them in one database.
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
	if it.SHA256 != "" && it.SHA256 != pkg.SHA256 {
		return addition{}, refuse(ErrContent, "sha256 is %s, not %s", pkg.SHA256, it.SHA256)
	}
	return addition{pkg.Entry(), alpm.AppendFiles(nil, pkg.Files)}, nil
}

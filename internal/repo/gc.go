package repo

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Keep says how long what is no longer current is kept.
type Keep struct {
	Generations time.Duration // after another took its place
	Packages    time.Duration // after it left the database
	Stages      time.Duration // after they were made
}

// leastGeneration is how long a generation that was current stays at least: a
// client may have been redirected to it a moment ago.
const leastGeneration = time.Hour

// keepOutcomes is how long the answer to a transaction can be asked for.
const keepOutcomes = 24 * time.Hour

// Garbage is one thing that nobody needs any more.
type Garbage struct {
	Path  string `json:"path"` // in the state directory
	Why   string `json:"why"`
	Bytes int64  `json:"bytes"`
}

// Garbage lists what Collect would remove at the time now: generations and
// packages past their time, outcomes after a day. Never a file that a kept
// generation names.
func (w *Writer) Garbage(now time.Time, keep Keep) ([]Garbage, error) {
	all, err := w.oldOutcomes(now)
	if err != nil {
		return nil, err
	}
	stages, err := w.oldStages(now, keep)
	if err != nil {
		return nil, err
	}
	all = append(all, stages...)
	for _, spec := range w.store.specs {
		lives, err := w.lifetimes(spec.Name)
		if err != nil {
			return nil, err
		}
		kept := make(map[string][]int64) // generations by architecture
		for _, arch := range spec.Arches {
			gens, old := w.oldGenerations(place{spec.Name, arch}, now, keep)
			kept[arch] = gens
			all = append(all, old...)
		}
		old, err := w.oldPackages(spec.Name, lives, kept, now, keep)
		if err != nil {
			return nil, err
		}
		all = append(all, old...)
	}
	return all, nil
}

// Collect removes what Garbage lists, and uploads whose process is gone.
func (w *Writer) Collect(now time.Time, keep Keep) ([]Garbage, error) {
	if err := w.store.SweepStaging(); err != nil {
		return nil, err
	}
	all, err := w.Garbage(now, keep)
	for i, g := range all {
		if err := os.RemoveAll(w.store.path(g.Path)); err != nil {
			return all[:i], err
		}
		w.log.Info("removed", "path", g.Path, "why", g.Why)
	}
	if err != nil {
		return all, err
	}
	return all, w.unlinkDead()
}

func (w *Writer) oldOutcomes(now time.Time) ([]Garbage, error) {
	var all []Garbage
	err := eachFile(w.store.path("done"), func(info fs.FileInfo) {
		if now.Sub(info.ModTime()) >= keepOutcomes {
			all = append(all, Garbage{filepath.Join("done", info.Name()), "answered a day ago", info.Size()})
		}
	})
	return all, err
}

// oldGenerations tells the generations of p that stay from those that go: a
// generation's time runs from when the next one took its place.
func (w *Writer) oldGenerations(p place, now time.Time, keep Keep) (stay []int64, old []Garbage) {
	born := w.store.generations(p)
	gens := slices.Sorted(maps.Keys(born))
	for i, n := range gens {
		if n >= w.current[p].gen || i+1 == len(gens) || now.Sub(born[gens[i+1]]) < max(keep.Generations, leastGeneration) {
			stay = append(stay, n)
			continue
		}
		dir := filepath.Join("repos", p.repo, p.arch, "gen", strconv.FormatInt(n, 10))
		old = append(old, Garbage{dir, "replaced at " + born[gens[i+1]].UTC().Format(time.RFC3339), w.size(dir)})
	}
	return stay, old
}

func (w *Writer) size(dir string) (n int64) {
	eachFile(w.store.path(dir), func(info fs.FileInfo) { n += info.Size() })
	return n
}

// lifetime is a span of generations in which a database named a file: from
// the one it entered with up to, not including, the one it left with. left is
// 0 while it is there.
type lifetime struct {
	arch          string
	entered, left int64
	leftAt        time.Time
}

// lifetimes reads from the journal when each file of repo's pool was published.
func (w *Writer) lifetimes(repo string) (map[string][]lifetime, error) {
	lives := make(map[string][]lifetime)
	here := make(map[string]string) // file by database and package name
	leave := func(it JournalItem, rec *Record) {
		file := here[it.In+"/"+it.Name]
		if spans := lives[file]; file != "" {
			for i := range spans {
				if spans[i].arch == it.In && spans[i].left == 0 {
					spans[i].left, spans[i].leftAt = rec.Gen, rec.Time
				}
			}
		}
		delete(here, it.In+"/"+it.Name)
	}
	_, err := openJournal(w.store.journal(repo), func(rec *Record) {
		for _, it := range rec.Remove {
			leave(it, rec)
		}
		for _, it := range rec.Add {
			if here[it.In+"/"+it.Name] == it.File {
				continue
			}
			leave(it, rec)
			here[it.In+"/"+it.Name] = it.File
			lives[it.File] = append(lives[it.File], lifetime{arch: it.In, entered: rec.Gen})
		}
	})
	return lives, err
}

// oldPackages lists the files of repo's pool that no kept generation names and
// whose grace is over. A file the journal does not know was left by a crash;
// its grace runs from when it was written.
func (w *Writer) oldPackages(repo string, lives map[string][]lifetime, kept map[string][]int64, now time.Time, keep Keep) ([]Garbage, error) {
	var all []Garbage
	err := eachFile(w.store.pool(repo), func(info fs.FileInfo) {
		file := packageOf(info.Name())
		if w.published(repo, file) {
			return
		}
		since := info.ModTime()
		why := "never published"
		for _, l := range lives[file] {
			if named(l, kept[l.arch]) {
				return
			}
			if l.leftAt.After(since) || why == "never published" {
				since, why = l.leftAt, "in no kept generation since "+l.leftAt.UTC().Format(time.RFC3339)
			}
		}
		if now.Sub(since) >= keep.Packages && !durable.IsTemp(info.Name()) || durable.IsTemp(info.Name()) && now.Sub(since) > leastGeneration {
			all = append(all, Garbage{filepath.Join("repos", repo, "pool", info.Name()), why, info.Size()})
		}
	})
	return all, err
}

func named(l lifetime, gens []int64) bool {
	return slices.ContainsFunc(gens, func(g int64) bool { return l.entered <= g && (l.left == 0 || g < l.left) })
}

// published reports whether a current database of repo names file.
func (w *Writer) published(repo, file string) bool {
	name, err := alpm.ParseFileName(file)
	if err != nil {
		return false
	}
	spec, _ := w.store.Spec(repo)
	return slices.ContainsFunc(spec.Arches, func(arch string) bool {
		e := w.current[place{repo, arch}].db.byName[name.Name]
		return e != nil && e.FileName == file
	})
}

// unlinkDead removes the mirror's links to files that are gone.
func (w *Writer) unlinkDead() error {
	for _, p := range w.store.places() {
		entries, err := os.ReadDir(w.store.archDir(p))
		if err != nil {
			return err
		}
		for _, e := range entries {
			link := filepath.Join(w.store.archDir(p), e.Name())
			if _, err := os.Stat(link); e.Type()&fs.ModeSymlink == 0 || !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := os.Remove(link); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachFile calls f for what dir holds, in order of names. Files that vanish
// meanwhile are passed over.
func eachFile(dir string, f func(fs.FileInfo)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			f(info)
		}
	}
	return nil
}

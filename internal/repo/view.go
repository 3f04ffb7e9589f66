package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"serene/internal/alpm"
)

// View is what one database publishes: a generation, never changed. Gen 0 is
// the empty one of a database nothing was ever written for.
type View struct {
	Repo, Arch string
	Gen        int64
	Time       time.Time // Last-Modified of its files

	store *Store
	db    *database
}

// Len is the number of packages.
func (v *View) Len() int { return len(v.db.byName) }

// Find returns the package called name, nil when there is none. The entry
// must not be changed.
func (v *View) Find(name string) *alpm.Entry { return v.db.byName[name] }

// Entries yields every package, byte-sorted by Dir.
func (v *View) Entries() iter.Seq[*alpm.Entry] {
	return func(yield func(*alpm.Entry) bool) {
		for _, g := range v.db.groups {
			for _, e := range g.entries {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// Files returns the file list of the package called name: paths without a
// leading slash, directories with a trailing one.
func (v *View) Files(name string) ([]string, error) {
	e := v.Find(name)
	if e == nil {
		return nil, fmt.Errorf("%w: no package %s in %s/%s", ErrNotFound, name, v.Repo, v.Arch)
	}
	data, err := os.ReadFile(filepath.Join(v.store.genDir(v.place(), v.Gen), v.Repo+".files"))
	if err != nil {
		return nil, err
	}
	frames, err := splitFrames(data)
	if err != nil {
		return nil, err
	}
	for i, g := range v.db.groups {
		if i < len(frames) && g.holds(e) {
			return filesIn(frames[i], e)
		}
	}
	return nil, fmt.Errorf("files database of %s has no %s", v.place(), name)
}

func (g *group) holds(e *alpm.Entry) bool {
	dir := e.Dir()
	return g.entries[0].Dir() <= dir && dir <= g.entries[len(g.entries)-1].Dir()
}

func filesIn(frame []byte, e *alpm.Entry) ([]string, error) {
	for m, err := range alpm.ReadDatabase(framed(frame)) {
		if err != nil {
			return nil, err
		}
		if m.Entry.Name == e.Name {
			return alpm.ParseFiles(m.Files)
		}
	}
	return nil, fmt.Errorf("files database has no %s", e.Dir())
}

func (v *View) place() place { return place{v.Repo, v.Arch} }

// View returns the current generation of repo's database for arch.
func (s *Store) View(repo, arch string) (*View, error) {
	p := place{repo, arch}
	if spec, ok := s.Spec(repo); !ok || !slices.Contains(spec.Arches, arch) {
		return nil, fmt.Errorf("%w: no repository %s", ErrNotFound, p)
	}
	gen, err := s.currentGen(p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.views[p]
	if before != nil && before.Gen == gen {
		return before, nil
	}
	v, err := s.loadView(p, gen, before)
	if err != nil {
		return nil, err
	}
	s.views[p] = v
	return v, nil
}

// loadView reads the database of generation gen, sharing with before what did
// not change.
func (s *Store) loadView(p place, gen int64, before *View) (*View, error) {
	v := &View{Repo: p.repo, Arch: p.arch, Gen: gen, store: s, db: emptyDatabase}
	if gen == 0 {
		return v, nil
	}
	old := emptyDatabase
	if before != nil {
		old = before.db
	}
	file := filepath.Join(s.genDir(p, gen), p.repo+".db")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	v.Time = st.ModTime()
	if v.db, err = parseDatabase(data, nil, old); err != nil {
		return nil, fmt.Errorf("generation %d of %s: %w", gen, p, err)
	}
	return v, nil
}

// loadWhole reads generation gen of p with its file lists.
func (s *Store) loadWhole(p place, gen int64) (*database, error) {
	var halves [2][]byte
	for _, h := range []half{dbHalf, filesHalf} {
		data, err := os.ReadFile(filepath.Join(s.genDir(p, gen), p.repo+h.suffix()))
		if err != nil {
			return nil, err
		}
		halves[h] = data
	}
	return parseDatabase(halves[dbHalf], halves[filesHalf], emptyDatabase)
}

// currentGen is the number current points at, 0 when there is no such link.
func (s *Store) currentGen(p place) (int64, error) {
	target, err := os.Readlink(filepath.Join(s.archDir(p), "current"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(target, "gen/"), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s: current points at %q", p, target)
	}
	return n, nil
}

// OpenGen opens one of the four files of generation gen: R.db, R.files and
// their signatures.
func (s *Store) OpenGen(repo, arch string, gen int64, file string) (*os.File, error) {
	if _, err := s.View(repo, arch); err != nil {
		return nil, err
	}
	if !IsGenFile(repo, file) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, file)
	}
	return open(filepath.Join(s.genDir(place{repo, arch}, gen), file))
}

// IsGenFile reports whether file is one of the four that a generation of repo
// has.
func IsGenFile(repo, file string) bool {
	name := strings.TrimSuffix(file, ".sig")
	return name == repo+dbHalf.suffix() || name == repo+filesHalf.suffix()
}

// OpenFile opens a published file by the name pacman asks for: a package, its
// signature, or a file of the current generation (R.db, R.files, their
// .tar.zst names and signatures).
func (s *Store) OpenFile(repo, arch, file string) (*os.File, error) {
	v, err := s.View(repo, arch)
	if err != nil {
		return nil, err
	}
	if name := GenFile(file); IsGenFile(repo, name) {
		return s.OpenGen(repo, arch, v.Gen, name)
	}
	name, err := alpm.ParseFileName(strings.TrimSuffix(file, ".sig"))
	if err != nil || name.Arch != arch && name.Arch != "any" {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, file)
	}
	return open(filepath.Join(s.pool(repo), file))
}

// GenFile returns the name a database file has in its generation for the name
// it is asked by: R.db.tar.zst.sig is R.db.sig.
func GenFile(file string) string {
	base, sig := strings.CutSuffix(file, ".sig")
	base = strings.TrimSuffix(base, ".tar.zst")
	if sig {
		base += ".sig"
	}
	return base
}

// open opens a file whose name was parsed, never one a client spelled.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, filepath.Base(path))
	}
	return f, err
}

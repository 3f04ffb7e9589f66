// Package upstream knows which packages clients have from elsewhere: it keeps
// copies of sync databases such as Arch's core and extra, asks for news of them
// now and then, and says what they provide.
//
//	state/upstream/HASH.db      the last whole copy of each
//	state/upstream/status.json  what they are, for other processes
//
// A database that cannot be fetched, or is not one, leaves the copy of before
// in place. An architecture is known once all of its databases are: with half of
// them everything in the other half would look missing. Signatures are not
// checked: what is read here publishes nothing and installs nothing, it decides
// about warnings, or refusals, of our own packages alone.
package upstream

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Options say what to follow.
type Options struct {
	Dir    string   // for copies, made if it is missing
	URLs   []string // with "$arch" in them
	Arches []string
	Every  time.Duration // how often to ask for news
	Log    *slog.Logger
}

// Set is the followed databases. Its lookups are safe for concurrent use, while
// Run goes on.
type Set struct {
	opt    Options
	client *http.Client
	all    []*database

	mu    sync.RWMutex
	index map[*database]*index // guarded by mu
}

// database is one sync database of one architecture.
type database struct {
	url, arch string
	file      string
}

// Open makes the Set, with what copies there are. One that cannot be read is as
// if it were not there.
func Open(opt Options) (*Set, error) {
	s := &Set{opt: opt, client: newClient(), index: make(map[*database]*index)}
	if len(opt.URLs) == 0 {
		s.noteStatus(removeStatus(opt.Dir))
		return s, nil
	}
	if err := durable.MkdirAll(opt.Dir, 0o770); err != nil {
		return nil, err
	}
	for _, arch := range opt.Arches {
		for _, url := range opt.URLs {
			url = strings.ReplaceAll(url, "$arch", arch)
			db := &database{url: url, arch: arch, file: filepath.Join(opt.Dir, copyName(url))}
			s.all = append(s.all, db)
			if err := s.load(db); err != nil && !os.IsNotExist(err) {
				opt.Log.Warn("copy of an upstream database not read", "url", url, "err", err)
			}
		}
	}
	s.noteStatus(s.writeStatus())
	return s, nil
}

// load reads the copy of db into memory.
func (s *Set) load(db *database) error {
	f, err := os.Open(db.file)
	if err != nil {
		return err
	}
	defer f.Close()
	read, err := readIndex(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index[db] = read
	return nil
}

// indexes are those of arch, nil unless all are there.
func (s *Set) indexes(arch string) []*index {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*index
	for _, db := range s.all {
		if db.arch != arch {
			continue
		}
		i := s.index[db]
		if i == nil {
			return nil
		}
		all = append(all, i)
	}
	return all
}

// Known reports whether the databases for arch are at hand, all of them.
func (s *Set) Known(arch string) bool { return s.indexes(arch) != nil }

// Has reports whether there is a package called name for arch.
func (s *Set) Has(arch, name string) bool {
	return slices.ContainsFunc(s.indexes(arch), func(i *index) bool {
		_, ok := i.versions[name]
		return ok
	})
}

// Satisfies reports whether some package for arch satisfies dep.
func (s *Set) Satisfies(arch string, dep alpm.Dep) bool {
	return slices.ContainsFunc(s.indexes(arch), func(i *index) bool { return i.satisfies(dep) })
}

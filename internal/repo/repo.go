// Package repo owns the repositories of one state directory: what may enter
// them, how a change becomes visible, and what is kept. Every invariant of the
// published state is kept here and nowhere else.
//
// Two sides share a Store. The admission side (Tx) takes foreign bytes into
// staging/, reads every package whole, asks the rules and renames a complete
// directory into inbox/. The writing side (Writer, one process at a time)
// turns what lies in inbox/ into the next generation of each database it
// touches. They meet only in the directory, so either may be killed at any
// system call:
//
//	staging/<tx>/       being uploaded; swept when its process is gone
//	inbox/<tx>/         tx.json and package files: complete, fsynced
//	inbox/<name>/       package files alone: dropped by another tool
//	repos/R/pool/       packages and signatures, immutable once named
//	repos/R/ARCH/gen/N/ R.db R.db.sig R.files R.files.sig, immutable
//	repos/R/ARCH/current -> gen/N
//	repos/R/journal.jsonl  one line a change: appending it is the commit
//	done/<tx>.json      outcome, for whoever waits
//
// A change is committed when its journal line is on disk. Everything it names
// is on disk before that; flipping current and writing the outcome follow
// from it and are done again at start where a crash cut them off.
//
// Other tools may drop a directory of packages, and their .sig files, into
// inbox/: made elsewhere on the same file system and renamed in whole, under a
// name of letters, digits and "._+-" that begins with none of those last. It is
// for the default repository, or, as REPO:NAME, for REPO. Adopt imports it as
// Import does: what passes is one transaction, what does not is left out, and
// done/<name>.json says which and why. The directory is consumed.
//
// It never talks to the network and never decides who may do what.
package repo

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// DebugSuffix names the repository that debug packages of another go to.
const DebugSuffix = "-debug"

// Spec is one repository: the section name in pacman.conf and the
// architectures it has a database for.
type Spec struct {
	Name   string
	Arches []string
	Rules  Rules
}

// Options bound what a Store accepts. A zero field means no limit of its kind.
type Options struct {
	MaxPackage int64 // bytes of one package file
	MaxFiles   int   // files and directories in one package
	MinFree    int64 // bytes that must stay free on the state's file system
	Limits     alpm.Limits
	Upstream   Upstream // nil where nothing is known of it
}

// Store gives access to the repositories in a state directory. It is safe for
// concurrent use; several processes may each have one.
type Store struct {
	state string
	specs []Spec
	opt   Options

	mu    sync.Mutex
	views map[place]*View // guarded by mu: the last view loaded of each place
}

// place is one database: a repository and an architecture.
type place struct{ repo, arch string }

func (p place) String() string { return p.repo + "/" + p.arch }

// Open returns the Store of the state directory for the repositories specs,
// the first being the default one. Each also gets a repository for debug
// packages. Directories that are missing are made.
func Open(state string, specs []Spec, opt Options) (*Store, error) {
	if len(specs) == 0 {
		return nil, fmt.Errorf("no repository is configured")
	}
	if opt.Limits == (alpm.Limits{}) {
		opt.Limits = alpm.DefaultLimits()
		opt.Limits.Size = math.MaxInt64 // MaxPackage says it
	}
	if opt.MaxFiles > 0 {
		opt.Limits.Members = opt.MaxFiles
	}
	s := &Store{state: state, opt: opt, views: make(map[place]*View)}
	for _, spec := range specs {
		debug := Spec{Name: spec.Name + DebugSuffix, Arches: spec.Arches}
		s.specs = append(s.specs, spec, debug)
	}
	for _, dir := range []string{"staging", "inbox", "done", "stages", "repos", "keys"} {
		if err := durable.MkdirAll(s.path(dir), 0o770); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Specs lists the repositories, each followed by its debug repository.
func (s *Store) Specs() []Spec { return slices.Clone(s.specs) }

// Default is the repository meant where none is named.
func (s *Store) Default() Spec { return s.specs[0] }

// Spec returns the repository called name.
func (s *Store) Spec(name string) (Spec, bool) {
	i := slices.IndexFunc(s.specs, func(sp Spec) bool { return sp.Name == name })
	if i < 0 {
		return Spec{}, false
	}
	return s.specs[i], true
}

// IsDebug reports whether repo takes debug packages.
func IsDebug(repo string) bool { return strings.HasSuffix(repo, DebugSuffix) }

// target is the repository of the family of base that takes p.
func (s *Store) target(base string, p *alpm.Package) (Spec, error) {
	name := strings.TrimSuffix(base, DebugSuffix)
	if p.Info.IsDebug() {
		name += DebugSuffix
	}
	spec, ok := s.Spec(name)
	if !ok {
		return Spec{}, fmt.Errorf("%w: no repository %s", ErrNotFound, name)
	}
	return spec, nil
}

// arches lists the databases of spec that a package for arch belongs in:
// "any" is in all of them.
func (spec Spec) arches(arch string) []string {
	if arch == "any" {
		return spec.Arches
	}
	if slices.Contains(spec.Arches, arch) {
		return []string{arch}
	}
	return nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.state}, elem...)...)
}

func (s *Store) pool(repo string) string    { return s.path("repos", repo, "pool") }
func (s *Store) journal(repo string) string { return s.path("repos", repo, "journal.jsonl") }
func (s *Store) archDir(p place) string     { return s.path("repos", p.repo, p.arch) }
func (s *Store) genDir(p place, gen int64) string {
	return s.path("repos", p.repo, p.arch, "gen", fmt.Sprint(gen))
}

// places lists every database of the store.
func (s *Store) places() []place {
	var all []place
	for _, spec := range s.specs {
		for _, arch := range spec.Arches {
			all = append(all, place{spec.Name, arch})
		}
	}
	return all
}

// PublicKeyFile is where the writer leaves its armored public key for those
// that may not read the secret one.
func (s *Store) publicKeyFile() string { return s.path("keys", "public.asc") }

// PublicKey returns the armored public keys clients are to trust, and the
// fingerprint (upper hex) of the first, which packages and databases are signed
// with now; Fingerprints those of all. It is ErrBusy until a writer has started
// once.
func (s *Store) PublicKey() (armored []byte, fingerprint string, err error) {
	armored, err = os.ReadFile(s.publicKeyFile())
	if err != nil {
		return nil, "", fmt.Errorf("%w: there is no signing key yet: serene-serve has not started", ErrBusy)
	}
	all, err := Fingerprints(armored)
	if err != nil {
		return nil, "", err
	}
	return armored, all[0], nil
}

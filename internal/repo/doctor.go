package repo

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ProtonMail/go-crypto/openpgp"

	"serene/internal/alpm"
)

// Problem is something in the published state that is not as it must be.
type Problem struct {
	Repo   string `json:"repo"`
	Arch   string `json:"arch,omitempty"`
	File   string `json:"filename,omitempty"`
	What   string `json:"problem"`
	Repair string `json:"repair,omitempty"` // what Repair would do, "" when nothing can be
}

func (p Problem) String() string {
	where := p.Repo
	if p.Arch != "" {
		where += "/" + p.Arch
	}
	if p.File != "" {
		where += " " + p.File
	}
	return where + ": " + p.What
}

// doctor compares what is published with itself: databases, pool, signatures,
// journal. It only reads, so it may run beside the writer; what is published
// meanwhile may show as a problem.
type doctor struct {
	s    *Store
	keys openpgp.EntityList // ours and the uploaders'
	own  openpgp.EntityList

	mu    sync.Mutex
	found []Problem
}

// Doctor looks at everything that is published, reading every package file, and
// lists what is wrong, in the order of repositories.
func (s *Store) Doctor(ctx context.Context) ([]Problem, error) {
	armored, _, err := s.PublicKey()
	if err != nil {
		return nil, err
	}
	d := &doctor{s: s}
	if d.own, err = openpgp.ReadArmoredKeyRing(strings.NewReader(string(armored))); err != nil {
		return nil, fmt.Errorf("keys/public.asc: %w", err)
	}
	uploaders, _, err := s.uploaders()
	if err != nil {
		return nil, err
	}
	d.keys = append(slices.Clone(d.own), uploaders...)
	d.setAside("repos", s.commitFile(), "a damaged commit to several journals")
	for _, spec := range s.specs {
		d.setAside(spec.Name, s.journal(spec.Name), "a damaged journal")
		if err := d.repository(ctx, spec); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(d.found, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return d.found, nil
}

// setAside reports what file was moved to when it was damaged, until somebody
// has looked at that and removes it.
func (d *doctor) setAside(repo, file, what string) {
	eachFile(filepath.Dir(file), func(info fs.FileInfo) {
		if strings.HasPrefix(info.Name(), filepath.Base(file)+".broken") {
			d.report(Problem{Repo: repo, File: info.Name(), What: what + ", set aside; remove it once nobody needs it"})
		}
	})
}

// report notes a problem. Its text comes from errors of the file system too,
// which name files from the root; from the state directory is enough.
func (d *doctor) report(p Problem) {
	p.What = strings.ReplaceAll(p.What, d.s.path()+"/", "")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found = append(d.found, p)
}

func (d *doctor) repository(ctx context.Context, spec Spec) error {
	listed := make(map[string]map[string]JournalItem) // by architecture and name
	for _, arch := range spec.Arches {
		listed[arch] = make(map[string]JournalItem)
	}
	holds := make(map[string]Hold)
	err := d.s.History(spec.Name, func(rec *Record) {
		rec.applyTo(holds)
		for arch, items := range listed {
			replayInto(items, rec, arch)
		}
	})
	if err != nil {
		d.report(Problem{Repo: spec.Name, What: err.Error(), Repair: repairJournal})
		listed = nil
	} else {
		d.holds(spec.Name, holds)
	}
	for _, arch := range spec.Arches {
		if err := d.database(ctx, place{spec.Name, arch}, listed[arch]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// holds compares the file of what is held with what the journal says.
func (d *doctor) holds(repo string, want map[string]Hold) {
	bad := Problem{Repo: repo, File: filepath.Base(d.s.holdsFile(repo)), Repair: repairHolds}
	got, err := d.s.readHolds(repo)
	switch {
	case err != nil:
		bad.What = err.Error()
	case !reflect.DeepEqual(got, want):
		bad.What = "it holds other packages than the journal says, which counts"
	default:
		return
	}
	d.report(bad)
}

// database checks one database and every file it names.
func (d *doctor) database(ctx context.Context, p place, listed map[string]JournalItem) error {
	gen, err := d.s.currentGen(p)
	if err != nil || gen == 0 {
		d.report(Problem{Repo: p.repo, Arch: p.arch, What: "there is no current generation", Repair: repairDatabase})
		return nil
	}
	for _, h := range []half{dbHalf, filesHalf} {
		file := filepath.Join(d.s.genDir(p, gen), p.repo+h.suffix())
		if err := checkSigned(d.own, file); err != nil {
			d.report(Problem{Repo: p.repo, Arch: p.arch, File: p.repo + h.suffix(), What: err.Error(), Repair: repairDatabase})
		}
	}
	db, err := d.s.loadWhole(p, gen)
	if err == nil {
		err = db.agree()
	}
	if err != nil {
		d.report(Problem{Repo: p.repo, Arch: p.arch, What: err.Error(), Repair: repairDatabase})
		return nil
	}
	if listed != nil {
		d.compare(p, db, listed)
	}
	return parallel(slices.Collect(maps.Values(db.byName)), runtime.GOMAXPROCS(0), func(e *alpm.Entry) error {
		if ctx.Err() == nil {
			d.packageFile(p, e)
		}
		return ctx.Err()
	})
}

// agree checks that the file lists are of the same packages as the database.
func (d *database) agree() error {
	for _, g := range d.groups {
		members, err := g.members(nil)
		if err != nil {
			return err
		}
		same := slices.EqualFunc(g.entries, members, func(e *alpm.Entry, m addition) bool {
			return e.FileName == m.entry.FileName && e.SHA256 == m.entry.SHA256
		})
		if !same {
			return fmt.Errorf("the two databases differ near %s", g.entries[0].Dir())
		}
	}
	return nil
}

// compare holds the database against what the journal says is in it.
func (d *doctor) compare(p place, db *database, listed map[string]JournalItem) {
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if e := db.byName[name]; e == nil || e.SHA256 != listed[name].SHA256 {
			d.report(Problem{Repo: p.repo, Arch: p.arch, File: listed[name].File,
				What: "the journal has it, the database does not", Repair: repairDatabase})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(db.byName)) {
		if _, ok := listed[name]; !ok {
			d.report(Problem{Repo: p.repo, Arch: p.arch, File: db.byName[name].FileName,
				What: "the database has it, the journal does not", Repair: repairDatabase})
		}
	}
}

// packageFile checks the file and the signature that e names.
func (d *doctor) packageFile(p place, e *alpm.Entry) {
	bad := Problem{Repo: p.repo, Arch: p.arch, File: e.FileName}
	file := filepath.Join(d.s.pool(p.repo), e.FileName)
	n, sum, _, err := digestFile(file)
	switch {
	case err != nil:
		bad.What = err.Error()
	case n != e.CSize || sum != e.SHA256:
		bad.What = fmt.Sprintf("%d bytes with sha256 %s, the database says %d with %s", n, sum, e.CSize, e.SHA256)
	default:
		if err := checkSigned(d.keys, file); err != nil {
			bad.What, bad.Repair = err.Error(), repairSignature
		}
	}
	if bad.What != "" {
		d.report(bad)
	}
}

// digestFile hashes a file as signatures need it.
func digestFile(file string) (n int64, sum string, digest hash.Cloner, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, "", nil, err
	}
	defer f.Close()
	digest = newDigest()
	if n, err = io.Copy(digest, f); err != nil {
		return 0, "", nil, err
	}
	return n, hex.EncodeToString(digest.Sum(nil)), digest, nil
}

// checkSigned checks the signature beside file.
func checkSigned(keys openpgp.EntityList, file string) error {
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		return err
	}
	return checkSignature(keys, file, sig)
}

package repo

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Staged is what a Receipt says of a package that can be tried, and is not
// published.
const Staged = "staged"

// A staged set is a transaction that was made ready to look at instead of being
// published: its directory under stages/ bears an unguessable name and holds
// the transaction and, for every database it would change, what that database
// would be. pacman uses it as a repository of its own.
//
//	stages/<token>/tx.json, packages, signatures
//	stages/<token>/<repo>/<arch>/R.db R.db.sig R.files R.files.sig

// StagedSet describes a staged set.
type StagedSet struct {
	Token    string          `json:"stage"`
	Repo     string          `json:"repo"`
	By       Actor           `json:"by"`
	Created  time.Time       `json:"created"`
	Packages []*alpm.Package `json:"-"`
}

// Stage asks that the transaction be staged, not published.
func (t *Tx) Stage() { t.req.Stage = true }

// Publish asks that the staged set token be published as it is.
func (t *Tx) Publish(token string) { t.req.Publish = token }

// Drop asks that the staged set token be removed.
func (t *Tx) Drop(token string) { t.req.Drop = token }

var stageToken = regexp.MustCompile(`^[0-9a-f]{32}$`)

func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *Store) stageDir(token string) string { return s.path("stages", token) }

// StagedSet returns the staged set token, ErrNotFound when there is none.
func (s *Store) StagedSet(token string) (*StagedSet, error) {
	req, err := s.stagedRequest(token)
	if err != nil {
		return nil, err
	}
	return &StagedSet{Token: token, Repo: req.Repo, By: req.By, Created: req.Created, Packages: req.Packages}, nil
}

func (s *Store) stagedRequest(token string) (*request, error) {
	if !stageToken.MatchString(token) {
		return nil, refuse(ErrNotFound, "no staged set %s", token)
	}
	if _, err := os.Stat(s.stageDir(token)); errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(ErrNotFound, "no staged set %s", token)
	}
	return readRequest(s.stageDir(token), "")
}

// OpenStaged opens a file of a staged set by the name pacman asks for. What
// the set does not have is what is published.
func (s *Store) OpenStaged(token, repo, arch, file string) (*os.File, error) {
	if !stageToken.MatchString(token) {
		return nil, refuse(ErrNotFound, "no staged set")
	}
	if _, err := s.View(repo, arch); err != nil {
		return nil, err
	}
	if name := GenFile(file); IsGenFile(repo, name) {
		return open(filepath.Join(s.stageDir(token), repo, arch, name))
	}
	if _, err := alpm.ParseFileName(strings.TrimSuffix(file, ".sig")); err != nil {
		return nil, refuse(ErrNotFound, "%s", err)
	}
	f, err := open(filepath.Join(s.stageDir(token), file))
	if errors.Is(err, ErrNotFound) && s.staged(token) {
		return s.OpenFile(repo, arch, file)
	}
	return f, err
}

func (s *Store) staged(token string) bool {
	_, err := os.Stat(s.stageDir(token))
	return err == nil
}

// stage makes the staged set a transaction asks for, named after nothing.
func (b *batch) stage(req *request, out *Outcome) ([]Receipt, error) {
	dec, err := b.draft.decide(req)
	if err != nil {
		return nil, err
	}
	trial := b.draft.fork()
	trial.do(dec)
	doubts, err := b.w.judge(b.draft, trial, dec)
	if err != nil {
		return nil, err
	}
	token := newToken()
	aside := b.w.store.stageDir(".aside-" + token)
	if err := b.w.fillStage(aside, req, trial, dec); err != nil {
		return nil, errors.Join(err, os.RemoveAll(aside))
	}
	if err := durable.Rename(aside, b.w.store.stageDir(token)); err != nil {
		return nil, err
	}
	out.Stage = token
	receipts := b.receipts(dec.changes, doubts)
	for i := range receipts {
		receipts[i].Action, receipts[i].Gen = Staged, 0
	}
	return receipts, nil
}

func (w *Writer) fillStage(dir string, req *request, trial *draft, dec *decision) error {
	if err := durable.MkdirAll(dir, 0o770); err != nil {
		return err
	}
	if err := linkOrCopy(filepath.Join(req.dir, requestFile), filepath.Join(dir, requestFile)); err != nil {
		return err
	}
	for _, p := range req.Packages {
		if err := w.stagePackage(dir, req.dir, p); err != nil {
			return err
		}
	}
	for _, c := range dec.changes {
		sub := filepath.Join(dir, c.place.repo, c.place.arch)
		if _, err := os.Stat(sub); err == nil {
			continue // by another package
		}
		if err := w.stageDatabase(sub, c.place, trial); err != nil {
			return err
		}
	}
	return durable.SyncDir(dir)
}

func (w *Writer) stagePackage(dir, origin string, p *alpm.Package) error {
	e := p.Entry()
	file := filepath.Join(origin, e.FileName)
	digest, err := w.digest(file, e, p.Digest)
	if err != nil {
		return err
	}
	sig, _, err := w.signatureFor(file, digest)
	if err != nil {
		return err
	}
	if err := durable.CreateFile(filepath.Join(dir, e.FileName+".sig"), sig, 0o660); err != nil {
		return err
	}
	return linkOrCopy(file, filepath.Join(dir, e.FileName))
}

func (w *Writer) stageDatabase(dir string, p place, trial *draft) error {
	d, err := trial.overlays[p].result()
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(dir, 0o770); err != nil {
		return err
	}
	// Older than what is published: who goes back to that must not be told that
	// nothing is newer than what he has from here.
	return w.writeHalves(dir, p, d, w.journals[p.repo].modified.Add(-time.Second))
}

// unstage resolves a transaction that publishes a staged set to what that set
// is, asked for by who publishes it.
func (w *Writer) unstage(req *request) (*request, error) {
	set, err := w.store.stagedRequest(req.Publish)
	if err != nil {
		return nil, err
	}
	set.ID, set.By, set.Stage, set.Publish = req.ID, req.By, false, req.Publish
	set.readAgain()
	return set, nil
}

// dropStage removes a staged set, which may be gone.
func (w *Writer) dropStage(token string) error {
	if !stageToken.MatchString(token) {
		return nil
	}
	return os.RemoveAll(w.store.stageDir(token))
}

// oldStages lists staged sets past their time.
func (w *Writer) oldStages(now time.Time, keep Keep) ([]Garbage, error) {
	var all []Garbage
	err := eachFile(w.store.path("stages"), func(info fs.FileInfo) {
		if age := now.Sub(info.ModTime()); age >= keep.Stages && age >= leastGeneration {
			dir := filepath.Join("stages", info.Name())
			all = append(all, Garbage{dir, "neither published nor dropped", w.size(dir)})
		}
	})
	return all, err
}

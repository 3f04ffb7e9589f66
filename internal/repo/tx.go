package repo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Actor is who asked for a change, as the journal remembers it.
type Actor struct {
	Key     string `json:"key,omitempty"`     // fingerprint of the SSH key
	Comment string `json:"comment,omitempty"` // its comment in authorized_keys
	Verb    string `json:"verb,omitempty"`
}

// TxOptions say what a transaction may do.
type TxOptions struct {
	Repo      string // "" is the default repository
	Downgrade bool   // accept packages older than the published ones
}

// request is tx.json: what a transaction asks of the writer. Packages are
// described by what the admission side read of them; the writer checks every
// field it writes. It takes a file for the bytes of its SHA256 where their Digest
// was handed over with it, which is by whoever hashed them while writing them,
// and reads it otherwise.
type request struct {
	ID        string          `json:"tx"`
	Repo      string          `json:"repo"`
	By        Actor           `json:"by"`
	Created   time.Time       `json:"created"`
	Downgrade bool            `json:"downgrade,omitempty"`
	Packages  []*alpm.Package `json:"packages,omitempty"`
	Remove    []string        `json:"remove,omitempty"`
	Promote   *promotion      `json:"promote,omitempty"`
	Rollback  *rollback       `json:"rollback,omitempty"`
	Hold      *Hold           `json:"hold,omitempty"`
	HoldNames []string        `json:"hold_names,omitempty"`
	Unhold    []string        `json:"unhold,omitempty"`
	Collect   *collection     `json:"collect,omitempty"`
	Repair    bool            `json:"repair,omitempty"`
	Resign    *resigning      `json:"resign,omitempty"`
	Stage     bool            `json:"stage,omitempty"`
	Publish   string          `json:"publish,omitempty"`
	Drop      string          `json:"drop,omitempty"`

	Provenance json.RawMessage `json:"provenance,omitempty"`

	dir string // where its files are
}

// empty reports whether req asks for nothing.
func (req *request) empty() bool {
	return len(req.Packages)+len(req.Remove)+len(req.Unhold) == 0 &&
		req.Promote == nil && req.Rollback == nil && req.Hold == nil &&
		req.Collect == nil && !req.Repair && req.Resign == nil && req.Publish == "" && req.Drop == ""
}

const requestFile = "tx.json"

// Tx is a transaction in the making: packages in quarantine and names to
// remove, which are all done together or not at all. It is not safe for
// concurrent use.
type Tx struct {
	store  *Store
	dir    string
	lock   *os.File // held while this process works on dir
	req    request
	signed map[string]bool // package file names that brought a signature

	submitted bool
}

// Begin starts a transaction. It must end in Submit or Abort.
func (s *Store) Begin(by Actor, o TxOptions) (*Tx, error) {
	if o.Repo == "" {
		o.Repo = s.Default().Name
	}
	if _, ok := s.Spec(o.Repo); !ok {
		return nil, refuse(ErrNotFound, "no repository %s", o.Repo)
	}
	id := newID(time.Now())
	dir := s.path("staging", id)
	if err := os.Mkdir(dir, 0o770); err != nil {
		return nil, noSpace(err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Tx{
		store:  s,
		dir:    dir,
		lock:   lock,
		req:    request{ID: id, Repo: o.Repo, By: by, Created: time.Now().UTC(), Downgrade: o.Downgrade},
		signed: make(map[string]bool),
	}, nil
}

// newID is unique and sorts by time.
func newID(now time.Time) string {
	var salt [4]byte
	rand.Read(salt[:])
	return now.UTC().Format("20060102T150405.000000000Z") + "-" + hex.EncodeToString(salt[:])
}

// Add takes one package called file from r, reading it whole while it is
// stored. size is its length in bytes where the sender declared one, else -1.
// After an error the transaction is as before the call.
func (t *Tx) Add(ctx context.Context, file string, size int64, r io.Reader) (*alpm.Package, error) {
	name, err := alpm.ParseFileName(file)
	if err != nil {
		return nil, contentError(err)
	}
	for _, p := range t.req.Packages {
		if p.Info.Name == name.Name {
			return nil, refuse(ErrContent, "%s is in this transaction already, as %s", name.Name, p.File)
		}
	}
	if t.store.opt.MaxPackage > 0 && size > t.store.opt.MaxPackage {
		return nil, refuse(ErrTooLarge, "%d bytes, more than max_package = %d", size, t.store.opt.MaxPackage)
	}
	p, err := t.receive(ctx, file, size, r)
	if err != nil {
		os.Remove(filepath.Join(t.dir, file))
		return nil, contentError(err)
	}
	t.req.Packages = append(t.req.Packages, p)
	return p, nil
}

func (t *Tx) receive(ctx context.Context, file string, size int64, r io.Reader) (*alpm.Package, error) {
	f, err := os.OpenFile(filepath.Join(t.dir, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sink := &intake{ctx: ctx, src: r, file: f, store: t.store}
	if err := t.store.reserve(f, max(size, 0)); err != nil {
		return nil, err
	}
	p, err := alpm.ReadPackage(sink, file, t.store.opt.Limits)
	if err != nil {
		return nil, err
	}
	return p, durable.Sync(f)
}

// AddSignature takes the detached signature called file (PACKAGE.sig), before
// or after its package.
func (t *Tx) AddSignature(file string, r io.Reader) error {
	pkg, ok := strings.CutSuffix(file, ".sig")
	if _, err := alpm.ParseFileName(pkg); !ok || err != nil {
		return refuse(ErrContent, "not the name of a package signature")
	}
	if t.signed[pkg] {
		return refuse(ErrContent, "this signature is in this transaction already")
	}
	sig, err := io.ReadAll(io.LimitReader(r, maxSignature+1))
	if err != nil {
		return err
	}
	if _, err := parseSignature(sig); err != nil {
		return err
	}
	if err := durable.CreateFile(filepath.Join(t.dir, file), sig, 0o660); err != nil {
		return err
	}
	t.signed[pkg] = true
	return nil
}

// Remove asks for the packages called names to be taken out.
func (t *Tx) Remove(names ...string) error {
	for _, name := range names {
		if err := alpm.ValidName(name); err != nil {
			return contentError(err)
		}
		if !slices.Contains(t.req.Remove, name) {
			t.req.Remove = append(t.req.Remove, name)
		}
	}
	return nil
}

// Provenance says where the packages of this transaction come from: one JSON
// value, kept beside each of them.
func (t *Tx) Provenance(v json.RawMessage) { t.req.Provenance = v }

// Packages lists what was added so far.
func (t *Tx) Packages() []*alpm.Package { return slices.Clone(t.req.Packages) }

// Submit asks the rules, and hands the transaction to the writer: once it
// returns an id, the transaction survives a crash and will have an outcome.
// Packages that are there already are no error. On error the transaction can
// only be aborted.
func (t *Tx) Submit() (id string, err error) {
	if t.req.empty() {
		return "", refuse(ErrUsage, "there is nothing in this transaction")
	}
	for pkg := range t.signed {
		if !slices.ContainsFunc(t.req.Packages, func(p *alpm.Package) bool { return p.File.String() == pkg }) {
			return "", refuse(ErrContent, "%s.sig has no package in this transaction", pkg)
		}
	}
	if err := t.checkAgainstPublished(); err != nil {
		return "", err
	}
	data, err := json.Marshal(t.req)
	if err != nil {
		return "", err
	}
	if err := durable.CreateFile(filepath.Join(t.dir, requestFile), data, 0o660); err != nil {
		return "", noSpace(err)
	}
	if err := durable.SyncDir(t.dir); err != nil {
		return "", err
	}
	if err := durable.Rename(t.dir, t.store.path("inbox", t.req.ID)); err != nil {
		return "", err
	}
	t.submitted = true
	return t.req.ID, t.lock.Close()
}

// checkAgainstPublished asks the writer's rules early, so that most refusals
// need no writer. The writer asks them again.
func (t *Tx) checkAgainstPublished() error {
	for _, token := range []string{t.req.Publish, t.req.Drop} {
		if token == "" {
			continue
		}
		if _, err := t.store.StagedSet(token); err != nil {
			return err
		}
	}
	_, err := t.store.publishedDraft().decide(&t.req)
	return err
}

// publishedDraft is a draft on what is published now.
func (s *Store) publishedDraft() *draft {
	return s.newDraft(func(p place) (*database, error) {
		v, err := s.View(p.repo, p.arch)
		if err != nil {
			return nil, err
		}
		return v.db, nil
	})
}

// Abort drops the transaction. After Submit it does nothing.
func (t *Tx) Abort() error {
	if t.submitted {
		return nil
	}
	return errors.Join(os.RemoveAll(t.dir), t.lock.Close())
}

// lockDir takes an exclusive lock on dir, without waiting. It ends with the
// file, at the latest with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// SweepStaging removes uploads whose process is gone.
func (s *Store) SweepStaging() error {
	entries, err := os.ReadDir(s.path("staging"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := s.path("staging", e.Name())
		lock, err := lockDir(dir)
		if err != nil {
			continue // in use, or gone meanwhile
		}
		err = os.RemoveAll(dir)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

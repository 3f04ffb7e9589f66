package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"serene/internal/durable"
)

// Writer turns the inbox into generations. There is one at a time for a state
// directory, and its methods are called by one goroutine.
type Writer struct {
	store  *Store
	signer *Signer
	log    *slog.Logger
	lock   *os.File

	journals map[string]*journal // by repository
	current  map[place]*generation
	replayed map[string]map[string][]Receipt // by transaction and repository: committed before a crash, not yet answered
	torn     bool                            // a refresh failed half-way: what is in memory may not be what is on disk
}

// generation is what current points at, or will once flipped.
type generation struct {
	gen int64
	at  time.Time // Last-Modified, the same for all databases of the repository
	db  *database
}

// OpenWriter takes the writer's lock, brings the published state to what the
// journals say was committed, and gives every database that has none a first,
// empty generation. A second writer gets ErrBusy.
func OpenWriter(s *Store, signer *Signer, log *slog.Logger) (*Writer, error) {
	lock, err := takeLock(s.path("repos", ".lock"))
	if err != nil {
		return nil, err
	}
	w := &Writer{store: s, signer: signer, log: log, lock: lock}
	if err := w.open(); err != nil {
		lock.Close()
		return nil, err
	}
	return w, nil
}

// Close gives up the lock.
func (w *Writer) Close() error { return w.lock.Close() }

// takeLock locks path without waiting and leaves the process id in it.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, refuse(ErrBusy, "another serene-serve (pid %s) works on %s", strings.TrimSpace(string(holder)), filepath.Dir(filepath.Dir(path)))
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Refresh applies everything that lies complete in the inbox, in the order it
// was submitted, as one new generation of each database it changes, and
// answers every transaction. It returns how many it answered. After an error
// nothing is lost: what was not answered is done by the next call.
func (w *Writer) Refresh(ctx context.Context) (int, error) {
	if w.torn {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	ids, err := w.pending()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	b := w.newBatch()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := b.take(id); err != nil {
			return 0, fmt.Errorf("transaction %s: %w", id, err)
		}
	}
	w.torn = true
	if err := b.commit(); err != nil {
		return 0, err
	}
	if err := b.answer(ctx); err != nil {
		return 0, err
	}
	w.torn = false
	return len(ids), nil
}

// pending lists the transactions in the inbox that have no outcome yet, oldest
// first. One that has was answered just before a crash: it is only discarded.
func (w *Writer) pending() ([]string, error) {
	entries, err := os.ReadDir(w.store.path("inbox"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, err := w.store.Outcome(e.Name()); err == nil {
			if err := w.discard(e.Name()); err != nil {
				return nil, err
			}
			continue
		}
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// batch is the transactions of one refresh.
type batch struct {
	w        *Writer
	draft    *draft
	records  map[string][]*Record // by repository
	outcomes []*Outcome
	tasks    map[*Outcome]*request // to be done after the commit
	pools    map[string]bool       // directories names were added to
}

func (w *Writer) newBatch() *batch {
	return &batch{
		w: w,
		draft: w.store.newDraft(func(p place) (*database, error) {
			g := w.current[p]
			if g == nil {
				return nil, refuse(ErrNotFound, "no repository %s", p)
			}
			return g.db, nil
		}),
		records: make(map[string][]*Record),
		tasks:   make(map[*Outcome]*request),
		pools:   make(map[string]bool),
	}
}

// take decides on one transaction and enters it into the batch. The error is
// ours, never the transaction's.
func (b *batch) take(id string) error {
	out := &Outcome{Tx: id}
	receipts, err := b.apply(id, out)
	if err != nil {
		if classOf(err) == "" {
			return err
		}
		out.Class, out.Error = classOf(err), err.Error()
	}
	out.Receipts = receipts
	b.outcomes = append(b.outcomes, out)
	return nil
}

func (b *batch) apply(id string, out *Outcome) ([]Receipt, error) {
	req, err := readRequest(b.w.store.path("inbox", id), id)
	if err != nil {
		return nil, err
	}
	if req.Publish != "" {
		if req, err = b.w.unstage(req); err != nil {
			return b.receiptsBefore(id, err)
		}
	}
	b.tasks[out] = req
	if req.Stage {
		return b.stage(req, out)
	}
	dec, err := b.draft.decide(req)
	if err != nil {
		return b.receiptsBefore(id, err)
	}
	trial := b.draft.fork()
	trial.do(dec)
	doubts, err := b.w.judge(b.draft, trial, dec)
	if err != nil {
		return nil, err
	}
	warnings, err := b.enterPools(req, dec.changes)
	if err != nil {
		return nil, err
	}
	for name, more := range doubts {
		warnings[name] = append(warnings[name], more...)
	}
	b.record(req, dec)
	b.draft = trial
	return b.receipts(id, dec.changes, warnings), nil
}

// receiptsBefore answers a transaction that cannot be done because it was done
// already, before a crash took the answer away.
func (b *batch) receiptsBefore(id string, refused error) ([]Receipt, error) {
	var all []Receipt
	for _, receipts := range b.w.replayed[id] {
		all = append(all, receipts...)
	}
	if all == nil {
		return nil, refused
	}
	return all, nil
}

// enterPools gives the files of what enters their names, several at once, and
// returns warnings by repository and file name.
func (b *batch) enterPools(req *request, changes []change) (map[string][]string, error) {
	var mu sync.Mutex // guards warnings
	warnings := make(map[string][]string)
	var group errgroup.Group
	group.SetLimit(2 * runtime.GOMAXPROCS(0)) // half of them wait for the disk
	begun := make(map[string]bool)
	for _, c := range changes {
		name := c.place.repo + "/" + c.entry.FileName
		if c.action != Published || begun[name] {
			continue // or the same package for another architecture
		}
		begun[name] = true
		b.pools[b.w.store.pool(c.place.repo)] = true
		group.Go(func() error {
			warned, err := b.w.enterPool(c.origin, c.place.repo, c.entry)
			if err != nil {
				return err
			}
			mu.Lock()
			warnings[name] = warned
			mu.Unlock()
			return b.w.enterProvenance(c, req.Provenance)
		})
	}
	return warnings, group.Wait()
}

// record notes a decision for the journal of each repository it touches.
func (b *batch) record(req *request, dec *decision) {
	records := make(map[string]*Record)
	at := func(repo string) *Record {
		if records[repo] == nil {
			records[repo] = &Record{Time: time.Now().UTC(), Tx: req.ID, Actor: req.By}
			b.records[repo] = append(b.records[repo], records[repo])
		}
		return records[repo]
	}
	for _, c := range dec.changes {
		switch repo := c.place.repo; c.action {
		case Published:
			at(repo).Add = append(at(repo).Add, itemOf(c.place, c.entry))
		case Removed:
			at(repo).Remove = append(at(repo).Remove, itemOf(c.place, c.entry))
		}
	}
	if len(dec.hold)+len(dec.unhold) > 0 {
		at(dec.repo).Hold, at(dec.repo).Unhold = dec.hold, dec.unhold
	}
}

func (b *batch) receipts(id string, changes []change, warnings map[string][]string) []Receipt {
	var out []Receipt
	for _, c := range changes {
		e := c.entry
		r := Receipt{Action: c.action, Repo: c.place.repo, Arch: c.place.arch, Name: e.Name, Base: e.Base,
			Version: string(e.Version), File: e.FileName, SHA256: e.SHA256, Gen: b.w.current[c.place].gen}
		switch c.action {
		case Published:
			r.Warnings = warnings[c.place.repo+"/"+e.FileName]
			fallthrough
		case Removed:
			r.Gen = b.w.nextGen(c.place.repo)
		case Already:
			r = b.w.replay(id, r)
		}
		out = append(out, r)
	}
	return out
}

// replay returns the receipt the transaction earned for the same package when
// it was committed before a crash, else r.
func (w *Writer) replay(id string, r Receipt) Receipt {
	for _, was := range w.replayed[id][r.Repo] {
		if was.Arch == r.Arch && was.File == r.File {
			return was
		}
	}
	return r
}

func (w *Writer) nextGen(repo string) int64 { return w.journals[repo].gen + 1 }

// commit makes what the batch changed the current generations. The journal
// line is the point of no return: all it names is durable before it, and all
// that follows from it is done again at start.
func (b *batch) commit() error {
	for dir := range b.pools {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	next, err := b.writeGenerations()
	if err != nil {
		return err
	}
	for repo, records := range b.records {
		if err := b.w.journals[repo].append(numbered(records, next, b.w.journals[repo], repo)); err != nil {
			return err
		}
	}
	return b.follow(next)
}

// follow does what follows from the commit.
func (b *batch) follow(next map[place]*generation) error {
	for repo, holds := range b.draft.holds {
		if err := b.w.store.writeHolds(repo, holds); err != nil {
			return err
		}
	}
	for p, g := range next {
		for _, a := range b.draft.overlays[p].add {
			if err := b.w.store.mirrorPackage(p, a.entry); err != nil {
				return err
			}
		}
		if err := b.w.flip(p, g); err != nil {
			return err
		}
	}
	return nil
}

// numbered completes the records of one repository: they are of its next
// generation, or, where no database changes, of the last.
func numbered(records []*Record, next map[place]*generation, j *journal, repo string) []*Record {
	gen, modified, arches := j.gen, j.modified, archesOf(next, repo)
	for p, g := range next {
		if p.repo == repo {
			gen, modified = g.gen, g.at
		}
	}
	for _, rec := range records {
		rec.Gen, rec.Modified, rec.Arches = gen, modified, arches
	}
	return records
}

func archesOf(next map[place]*generation, repo string) []string {
	var arches []string
	for p := range next {
		if p.repo == repo {
			arches = append(arches, p.arch)
		}
	}
	slices.Sort(arches)
	return arches
}

// writeGenerations writes the next generation of every database that changed.
func (b *batch) writeGenerations() (map[place]*generation, error) {
	next := make(map[place]*generation)
	for p, o := range b.draft.overlays {
		if !o.changed() {
			continue
		}
		d, err := o.result()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		next[p] = &generation{gen: b.w.nextGen(p.repo), at: b.w.journals[p.repo].stamp(), db: d}
	}
	var group errgroup.Group
	for p, g := range next {
		group.Go(func() error { return b.w.writeGeneration(p, g.gen, g.db, g.at) })
	}
	return next, group.Wait()
}

// answer writes the outcomes and clears the inbox of what has one.
func (b *batch) answer(ctx context.Context) error {
	for _, o := range b.outcomes {
		if req := b.tasks[o]; req != nil && o.Error == "" {
			if err := b.w.work(ctx, req, o); err != nil {
				return err
			}
		}
		if o.Error != "" {
			b.w.log.Warn("refused", "tx", o.Tx, "class", o.Class, "err", o.Error)
		}
		if err := b.w.store.writeOutcome(o); err != nil {
			return err
		}
		if err := b.w.discard(o.Tx); err != nil {
			return err
		}
	}
	return nil
}

// discard takes a transaction out of the inbox: aside first, so that one half
// removed is never taken for a whole one.
func (w *Writer) discard(tx string) error {
	aside := w.store.path("inbox", ".done-"+tx)
	if err := os.Rename(w.store.path("inbox", tx), aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

package repo

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"serene/internal/durable"
)

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
	if slices.Contains(b.w.waiting, id) { // there may have been a crash
		req.readAgain()
	}
	if receipts, done := b.w.committed[id]; done {
		b.tasks[out] = req
		return b.answerAgain(req, receipts), nil
	}
	if req.Publish != "" {
		if req, err = b.w.unstage(req); err != nil {
			return nil, err
		}
	}
	b.tasks[out] = req
	if req.Stage {
		return b.stage(req, out)
	}
	return b.publish(req)
}

// publish enters what a transaction changes into the batch.
func (b *batch) publish(req *request) ([]Receipt, error) {
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
	warnings, err := b.enterPools(req, dec.changes)
	if err != nil {
		return nil, err
	}
	for name, more := range doubts {
		warnings[name] = append(warnings[name], more...)
	}
	b.record(req, dec)
	b.draft = trial
	return b.receipts(dec.changes, warnings), nil
}

// enterPools gives the files of what enters their names, several at once, and
// returns warnings by repository and file name.
func (b *batch) enterPools(req *request, changes []change) (map[string][]string, error) {
	var mu sync.Mutex // guards warnings
	warnings := make(map[string][]string)
	var entering []change
	for _, c := range changes {
		if _, begun := warnings[c.file()]; begun || c.action != Published {
			continue // the same package for another architecture, or none
		}
		warnings[c.file()] = nil
		b.pools[b.w.store.pool(c.place.repo)] = true
		entering = append(entering, c)
	}
	atOnce := 2 * runtime.GOMAXPROCS(0) // half of them wait for the disk
	return warnings, parallel(entering, atOnce, func(c change) error {
		warned, err := b.w.enterPool(c)
		if err != nil {
			return err
		}
		mu.Lock()
		warnings[c.file()] = warned
		mu.Unlock()
		return b.w.enterProvenance(c, req.Provenance)
	})
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

func (w *Writer) nextGen(repo string) int64 { return w.journals[repo].gen + 1 }

// commit makes what the batch changed the current generations. The journal
// lines are the point of no return: all they name is durable before them, and
// all that follows from them is done again at start.
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
	var all []journalLines
	for repo, records := range b.records {
		j := b.w.journals[repo]
		lines, err := j.lines(repo, numbered(records, next, j, repo))
		if err != nil {
			return err
		}
		all = append(all, lines)
	}
	if err := b.w.commitLines(all); err != nil {
		return err
	}
	return b.follow(next)
}

// follow does what follows from the commit.
func (b *batch) follow(next map[place]*generation) error {
	for repo, holds := range b.draft.holds {
		if err := b.w.writeHolds(repo, holds); err != nil {
			return err
		}
	}
	places := slices.SortedFunc(maps.Keys(next), func(p, q place) int {
		return b.gains(q) - b.gains(p) // what moves is for a moment in both, never in neither
	})
	for _, p := range places {
		for _, a := range b.draft.overlays[p].add {
			if err := b.w.store.mirrorPackage(p, a.entry); err != nil {
				return err
			}
		}
		if err := b.w.flip(p, next[p]); err != nil {
			return err
		}
	}
	return nil
}

// gains is how many packages enter p.
func (b *batch) gains(p place) int { return len(b.draft.overlays[p].add) }

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
	return next, parallel(slices.Collect(maps.Keys(next)), len(next), func(p place) error {
		return b.w.writeGeneration(p, next[p].gen, next[p].db, next[p].at)
	})
}

package repo

import (
	"context"
	"errors"
	"slices"
)

// answer writes the outcomes and clears the inbox of what has one.
func (b *batch) answer(ctx context.Context) error {
	for _, o := range b.outcomes {
		if req := b.tasks[o]; req != nil && o.Error == "" {
			err := b.w.work(ctx, req, o)
			class := classOf(err)
			if err != nil && (class == "" || errors.Is(err, ErrTooLarge)) {
				return err // ours, a full disk too: it is tried again
			}
			if err != nil {
				o.Class, o.Error = class, err.Error()
			}
		}
		if o.Error != "" {
			b.w.log.Warn("refused", "tx", o.Tx, "class", o.Class, "err", o.Error)
		}
		for i, r := range o.Receipts {
			if r.Action == Already { // perhaps by another transaction of this batch
				o.Receipts[i].Gen = b.w.current[place{r.Repo, r.Arch}].gen
			}
		}
		if err := b.w.store.writeOutcome(o); err != nil {
			return err
		}
		if b.w.Answered != nil {
			b.w.Answered(o)
		}
		if err := b.w.store.discard(o.Tx); err != nil {
			return err
		}
	}
	return nil
}

// answerAgain answers a transaction that was committed before a crash, or a
// failure, took the answer away: it is never applied twice. The journal knows
// what it changed; what was there already is found there still.
func (b *batch) answerAgain(req *request, receipts []Receipt) []Receipt {
	for _, p := range req.Packages {
		file := p.File.String()
		if slices.ContainsFunc(receipts, func(r Receipt) bool { return r.File == file }) {
			continue
		}
		changes, err := b.draft.decidePut(req, p)
		if err == nil {
			changes = slices.DeleteFunc(changes, func(c change) bool { return c.action != Already })
			receipts = append(receipts, b.receipts(changes, nil)...)
		}
	}
	return receipts
}

func (b *batch) receipts(changes []change, warnings map[string][]string) []Receipt {
	var out []Receipt
	for _, c := range changes {
		e := c.entry
		r := Receipt{Action: c.action, Repo: c.place.repo, Arch: c.place.arch, Name: e.Name, Base: e.Base,
			Version: string(e.Version), File: e.FileName, SHA256: e.SHA256, Gen: b.w.current[c.place].gen}
		switch c.action {
		case Published:
			r.Warnings = warnings[c.file()]
			fallthrough
		case Removed:
			r.Gen = b.w.nextGen(c.place.repo)
		}
		out = append(out, r)
	}
	return out
}

package repo

import (
	"context"
	"slices"
	"time"
)

// collection asks the writer to remove what nobody needs, or only to say what
// that is.
type collection struct {
	Keep Keep `json:"keep"`
	Dry  bool `json:"dry,omitempty"`
}

// Collect asks for Writer.Collect, or with dry for what it would remove.
func (t *Tx) Collect(keep Keep, dry bool) { t.req.Collect = &collection{keep, dry} }

// Repair asks for Writer.Repair of what Doctor finds.
func (t *Tx) Repair() { t.req.Repair = true }

// work does what a transaction asks beside changes, once those of its batch
// are published.
func (w *Writer) work(ctx context.Context, req *request, out *Outcome) (err error) {
	switch {
	case req.Publish != "":
		return w.dropStage(req.Publish)
	case req.Drop != "":
		return w.dropStage(req.Drop)
	case req.Collect != nil && req.Collect.Dry:
		out.Garbage, err = w.Garbage(time.Now(), req.Collect.Keep)
	case req.Collect != nil:
		out.Garbage, err = w.Collect(time.Now(), req.Collect.Keep)
	case req.Resign != nil:
		out.Resigned, err = w.resign(req)
	case req.Repair:
		out.Problems, err = w.mend(ctx)
	}
	return err
}

// mend repairs what can be, and looks again: behind a database that could not be
// read there may be more. It returns all it found.
func (w *Writer) mend(ctx context.Context) (all []Problem, err error) {
	for range 3 {
		found, err := w.store.Doctor(ctx)
		if err != nil {
			return all, err
		}
		found = slices.DeleteFunc(found, func(p Problem) bool { return slices.Contains(all, p) })
		if len(found) == 0 {
			break
		}
		if err := w.Repair(found); err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	return all, nil
}

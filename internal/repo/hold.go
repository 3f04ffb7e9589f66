package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"time"

	"serene/internal/alpm"
)

// Hold keeps new versions of a package out of a repository.
type Hold struct {
	Why   string    `json:"why"`
	By    Actor     `json:"by"`
	Since time.Time `json:"since"`
}

func (s *Store) holdsFile(repo string) string { return s.path("repos", repo, "holds.json") }

// Holds returns what is held in repo, by package or package base. Where its file
// is damaged or gone the journal says it, which it follows from: nothing that is
// held gets in meanwhile.
func (s *Store) Holds(repo string) (map[string]Hold, error) {
	holds, damage := s.readHolds(repo)
	if damage == nil {
		return holds, nil
	}
	holds = make(map[string]Hold)
	j, err := openJournal(s.journal(repo), func(rec *Record) { rec.applyTo(holds) })
	if err != nil || j.end == 0 && !errors.Is(damage, fs.ErrNotExist) {
		return nil, refuse(ErrBusy, "what is held in %s cannot be told: its holds.json and its journal are damaged; a restart of serene-serve begins them anew", repo)
	}
	return holds, nil
}

// readHolds reads the file alone.
func (s *Store) readHolds(repo string) (map[string]Hold, error) {
	data, err := os.ReadFile(s.holdsFile(repo))
	if err != nil {
		return nil, err
	}
	holds := make(map[string]Hold)
	if err := json.Unmarshal(data, &holds); err != nil {
		return nil, fmt.Errorf("%s: %w", s.holdsFile(repo), err)
	}
	if holds == nil { // "null"
		holds = make(map[string]Hold)
	}
	return holds, nil
}

// held refuses e when it, or its package base, is held in repo.
func held(holds map[string]Hold, e *alpm.Entry) error {
	for _, name := range []string{e.Name, e.Base} {
		if h, ok := holds[name]; ok {
			return refuse(ErrConflict, "%s is held since %s: %s", name, h.Since.Format(time.DateOnly), h.Why)
		}
	}
	return nil
}

// applyTo does the holding a record notes.
func (rec *Record) applyTo(holds map[string]Hold) {
	maps.Copy(holds, rec.Hold)
	for _, name := range rec.Unhold {
		delete(holds, name)
	}
}

// decideHolds works out what a request holds and lets go.
func (d *draft) decideHolds(req *request, dec *decision) error {
	holds, err := d.held(req.Repo)
	if err != nil {
		return err
	}
	for _, name := range req.Unhold {
		if _, ok := holds[name]; !ok {
			return refuse(ErrNotFound, "%s is not held in %s", name, req.Repo)
		}
	}
	dec.unhold = req.Unhold
	if req.Hold == nil {
		return nil
	}
	names := req.HoldNames
	if len(names) == 0 {
		for _, c := range dec.changes {
			names = append(names, c.entry.Name)
		}
	}
	dec.hold = make(map[string]Hold)
	for _, name := range names {
		dec.hold[name] = *req.Hold
	}
	return nil
}

// writeHolds leaves what is held where those look who push.
func (w *Writer) writeHolds(repo string, holds map[string]Hold) error {
	data, err := json.MarshalIndent(holds, "", "\t")
	if err != nil {
		return err
	}
	if _, err := w.store.readHolds(repo); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.Error("holds.json is damaged: written again", "repo", repo, "err", err)
	}
	return writeChanged(w.store.holdsFile(repo), append(data, '\n'), 0o660)
}

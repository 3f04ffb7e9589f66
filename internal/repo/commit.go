package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"serene/internal/durable"
)

// A commit that concerns one repository is one write to its journal. One that
// concerns several, as a promotion does, is written down whole first, in
// repos/commit.json: once that is on disk it is committed, and a start that
// finds it completes the journals before anything else. So a package never
// leaves one repository without being in the other.

// journalLines are lines to be committed to one journal.
type journalLines struct {
	Repo  string `json:"repo"`
	At    int64  `json:"at"` // length of the journal before them
	Lines string `json:"lines"`

	after *journal // what the journal is with them
}

func (s *Store) commitFile() string { return s.path("repos", "commit.json") }

// commitLines commits all of lines or, where it fails, none or all: a caller
// that gets an error starts again to learn which.
func (w *Writer) commitLines(all []journalLines) error {
	if len(all) > 1 {
		data, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if err := durable.WriteFile(w.store.commitFile(), data, 0o660); err != nil {
			return err
		}
	}
	for _, l := range all {
		if err := w.journals[l.Repo].write(l.At, []byte(l.Lines)); err != nil {
			return fmt.Errorf("journal of %s: %w", l.Repo, err)
		}
		w.journals[l.Repo] = l.after
	}
	if len(all) > 1 {
		return w.store.endCommit()
	}
	return nil
}

func (s *Store) endCommit() error {
	if err := os.Remove(s.commitFile()); err != nil {
		return err
	}
	return durable.SyncDir(s.path("repos"))
}

// completeCommit does what is left of a commit to several journals that was cut
// off.
func (w *Writer) completeCommit() error {
	data, err := os.ReadFile(w.store.commitFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all []journalLines
	if err := json.Unmarshal(data, &all); err != nil {
		w.log.Error("a commit to several journals cannot be completed: set aside", "file", w.store.commitFile(), "err", err)
		return durable.Rename(w.store.commitFile(), w.store.commitFile()+".broken")
	}
	for _, l := range all {
		if _, ok := w.store.Spec(l.Repo); !ok {
			continue // not configured any more
		}
		if err := w.completeJournal(l); err != nil {
			return fmt.Errorf("journal of %s: %w", l.Repo, err)
		}
	}
	return w.store.endCommit()
}

// completeJournal makes sure the lines are where they were to be. A journal too
// short for them was damaged since, and is left to openJournal.
func (w *Writer) completeJournal(l journalLines) error {
	j := &journal{path: w.store.journal(l.Repo)}
	has, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.At < 0 || int64(len(has)) < l.At {
		w.log.Error("journal is shorter than it was", "repo", l.Repo, "bytes", len(has), "want", l.At)
		return nil
	}
	if bytes.HasPrefix(has[l.At:], []byte(l.Lines)) {
		return nil
	}
	return j.write(l.At, []byte(l.Lines))
}

package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"serene/internal/durable"
)

// What a Receipt says was done.
const (
	Published = "published"
	Already   = "already there"
	Removed   = "removed"
)

// Receipt says what became of one package in one database.
type Receipt struct {
	Action   string   `json:"action"`
	Repo     string   `json:"repo"`
	Arch     string   `json:"arch"`
	Name     string   `json:"name"`
	Base     string   `json:"base,omitempty"`
	Version  string   `json:"version"`
	File     string   `json:"filename,omitempty"`
	Gen      int64    `json:"gen,omitempty"` // none where nothing is published
	SHA256   string   `json:"sha256,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// String is the receipt line a person sees.
func (r Receipt) String() string {
	line := fmt.Sprintf("%s %s/%s %s %s", r.Action, r.Repo, r.Arch, r.Name, r.Version)
	if r.Gen > 0 {
		line += fmt.Sprintf(" gen %d", r.Gen)
	}
	if r.SHA256 != "" {
		line += " sha256:" + r.SHA256
	}
	return line
}

// Outcome is what became of a transaction: receipts, or one reason.
type Outcome struct {
	Tx       string    `json:"tx"`
	Class    string    `json:"class,omitempty"` // "" when it was done
	Error    string    `json:"error,omitempty"`
	Receipts []Receipt `json:"receipts,omitempty"`
	Stage    string    `json:"stage,omitempty"`    // token of the staged set that was made
	Garbage  []Garbage `json:"garbage,omitempty"`  // what a collection removed
	Problems []Problem `json:"problems,omitempty"` // what a repair found
	Resigned *Resigned `json:"resigned,omitempty"` // what was signed again

	Import *ImportReport `json:"import,omitempty"` // of a dropped directory
}

// Err returns nil when the transaction was done, else its reason with its
// class.
func (o *Outcome) Err() error {
	if o.Error == "" {
		return nil
	}
	class, ok := classes[o.Class]
	if !ok {
		class = errInternal
	}
	return &Error{class, o.Error}
}

func (s *Store) outcomeFile(tx string) string { return s.path("done", tx+".json") }

func (s *Store) writeOutcome(o *Outcome) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return durable.WriteFile(s.outcomeFile(o.Tx), append(data, '\n'), 0o660)
}

// Outcome returns the outcome of transaction tx, ErrNotFound while there is
// none.
func (s *Store) Outcome(tx string) (*Outcome, error) {
	data, err := os.ReadFile(s.outcomeFile(tx))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: transaction %s has no outcome", ErrNotFound, tx)
	}
	if err != nil {
		return nil, err
	}
	o := new(Outcome)
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("outcome of %s: %w", tx, err)
	}
	return o, nil
}

// pollOutcome is how often Wait looks by itself: the watcher is a hint.
const pollOutcome = time.Second

// Wait returns the outcome of transaction tx as soon as there is one. When ctx
// ends first, the error is ctx's.
func (s *Store) Wait(ctx context.Context, tx string) (*Outcome, error) {
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if w.Add(s.path("done")) == nil {
			events = w.Events
		}
	}
	tick := time.NewTicker(pollOutcome)
	defer tick.Stop()
	for {
		o, err := s.Outcome(tx)
		if !errors.Is(err, ErrNotFound) {
			return o, err
		}
		select {
		case <-events:
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"serene/internal/durable"
)

// dropped is the name of a directory that another tool put into the inbox.
var dropped = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(:[A-Za-z0-9._+-]{1,64})?$`)

// submitted reports whether an entry of the inbox is a transaction, and not a
// directory that was dropped.
func (s *Store) submitted(name string) bool {
	_, err := os.Lstat(s.path("inbox", name, requestFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// Adopt makes transactions of the directories that were dropped into the inbox,
// oldest name first, and returns of how many. It reads every package in them,
// so it may take long; the writer can refresh meanwhile. One process calls it at
// a time, one goroutine in it.
func (s *Store) Adopt(ctx context.Context, log *slog.Logger) (n int, err error) {
	entries, err := os.ReadDir(s.path("inbox"))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || strings.HasPrefix(name, ".") || s.submitted(name) {
			continue
		}
		if err := s.adopt(ctx, name, log); err != nil {
			return n, fmt.Errorf("dropped directory %q: %w", name, err)
		}
		n++
	}
	return n, nil
}

// adopt imports one directory and removes it. Cut off between the two it is
// imported again, when all of it is there already.
func (s *Store) adopt(ctx context.Context, name string, log *slog.Logger) error {
	out := &Outcome{Tx: name}
	var err error
	if out.Import, err = s.importDropped(ctx, name); err != nil {
		if classOf(err) == "" {
			return err
		}
		out.Class, out.Error = classOf(err), err.Error()
	}
	log.Info("took in a dropped directory", "name", name, "err", err)
	if dropped.MatchString(name) {
		if err := s.writeOutcome(out); err != nil {
			return err
		}
	}
	return s.discard(name)
}

func (s *Store) importDropped(ctx context.Context, name string) (*ImportReport, error) {
	if !dropped.MatchString(name) {
		return nil, refuse(ErrContent, "%q is no name for a dropped directory", name)
	}
	repo, _, found := strings.Cut(name, ":")
	if !found {
		repo = s.Default().Name
	}
	src := source{dir: s.path("inbox", name), bare: true}
	return s.takeIn(ctx, src, repo, Actor{Verb: "drop"}, func(int, int) {})
}

// discard takes an entry out of the inbox: aside first, so that one half
// removed is never taken for a whole one.
func (s *Store) discard(name string) error {
	aside := s.path("inbox", ".done-"+newID(time.Now()))
	if err := durable.Move(s.path("inbox", name), aside); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

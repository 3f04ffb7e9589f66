package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/sys/unix"
)

// Writer turns the inbox into generations. There is one at a time for a state
// directory, and its methods are called by one goroutine.
type Writer struct {
	// Answered, where not nil, is told of every outcome once it is on disk. It
	// is set before the first Refresh.
	Answered func(*Outcome)

	store  *Store
	signer *Signer
	log    *slog.Logger
	lock   *os.File

	retired   openpgp.EntityList  // keys that signed before
	journals  map[string]*journal // by repository
	current   map[place]*generation
	waiting   []string             // transactions that were in the inbox at start
	committed map[string][]Receipt // by transaction: committed before a crash, not yet answered
	cool      context.CancelFunc   // ends warm
	warming   sync.WaitGroup

	torn bool // a refresh failed half-way: what is in memory may not be what is on disk
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
	var ctx context.Context
	ctx, w.cool = context.WithCancel(context.Background())
	groups := w.groups() // before the first refresh changes what is current
	w.warming.Go(func() { warm(ctx, groups) })
	return w, nil
}

// Close gives up the lock.
func (w *Writer) Close() error {
	w.cool()
	w.warming.Wait()
	return w.lock.Close()
}

// groups lists the groups whose packages a rule on files may be asked of.
func (w *Writer) groups() []*group {
	var all []*group
	for p, g := range w.current {
		if spec, _ := w.store.Spec(p.repo); spec.Rules.Files != Off && !IsDebug(p.repo) {
			all = append(all, g.db.groups...)
		}
	}
	return all
}

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
	// Only for people: a full disk must not keep the writer from starting.
	_, _ = f.WriteAt(fmt.Appendf(nil, "%-19d\n", os.Getpid()), 0)
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
	var stuck error // what could not be decided waits, and holds up nobody
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := b.take(id); err != nil {
			stuck = errors.Join(stuck, fmt.Errorf("transaction %s: %w", id, err))
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
	return len(b.outcomes), stuck
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
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || !w.store.submitted(e.Name()) {
			continue
		}
		if _, err := w.store.Outcome(e.Name()); err == nil {
			if err := w.store.discard(e.Name()); err != nil {
				return nil, err
			}
			continue
		}
		ids = append(ids, e.Name())
	}
	return ids, nil
}

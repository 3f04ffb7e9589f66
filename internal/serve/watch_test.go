package serve

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestWatchDirectory waits for hints from a real directory; a hint that does
// not come is the test's own time limit.
func TestWatchDirectory(t *testing.T) {
	inbox := filepath.Join(t.TempDir(), "inbox")
	mkdir(t, inbox)
	w := &inboxWatch{dir: inbox, hints: newHints(), log: slog.New(slog.DiscardHandler)}
	go w.run(t.Context())
	<-w.hints // what lay there before

	// The watch may not be there yet, so what appears is waited for by
	// another name each time until a hint comes.
	for appeared := false; !appeared; {
		mkdir(t, filepath.Join(inbox, time.Now().Format("150405.000000000")))
		select {
		case <-w.hints:
			appeared = true
		case <-time.After(50 * time.Millisecond):
		}
	}

	if err := os.RemoveAll(inbox); err != nil {
		t.Fatal(err)
	}
	w.hints.forget()
	mkdir(t, inbox)
	<-w.hints // the new inbox itself
	mkdir(t, filepath.Join(inbox, "tx"))
	<-w.hints
}

// following runs follow on channels of its own and returns how often the
// directories were watched anew.
func following(t *testing.T, w *inboxWatch) (chan<- fsnotify.Event, chan<- error, *int) {
	events, errs, added := make(chan fsnotify.Event), make(chan error), new(int)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.follow(ctx, events, errs, func() { *added++ }); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return events, errs, added
}

// hinted reports whether there is a hint, and takes it.
func hinted(h hints) bool {
	synctest.Wait()
	select {
	case <-h:
		return true
	default:
		return false
	}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &inboxWatch{dir: "/state/inbox", hints: newHints(), log: slog.New(slog.DiscardHandler)}
		events, errs, added := following(t, w)
		for _, test := range []struct {
			name string
			op   fsnotify.Op
			want bool
		}{
			{"/state/inbox/tx1", fsnotify.Create, true},
			{"/state/inbox/tx1", fsnotify.Rename, false},
			{"/state/inbox/tx1", fsnotify.Remove, false},
			{"/state/inbox/.done-tx1", fsnotify.Create, false},
			{"/state/staging", fsnotify.Create, false},
			{"/state/inbox", fsnotify.Remove, false},
			{"/state/inbox", fsnotify.Create, true},
		} {
			events <- fsnotify.Event{Name: test.name, Op: test.op}
			if got := hinted(w.hints); got != test.want {
				t.Errorf("%v of %s: hint %v, want %v", test.op, test.name, got, test.want)
			}
		}
		if *added != 2 {
			t.Errorf("directories watched %d times, want at the start and for the new inbox", *added)
		}
		for _, err := range []error{fsnotify.ErrEventOverflow, errors.New("lost")} {
			errs <- err
			if !hinted(w.hints) {
				t.Errorf("no hint after %v", err)
			}
		}
	})
}

func TestRescan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &inboxWatch{dir: "/state/inbox", hints: newHints(), log: slog.New(slog.DiscardHandler)}
		_, _, added := following(t, w)
		for range 3 {
			time.Sleep(rescanEvery)
			if !hinted(w.hints) {
				t.Error("no hint from a rescan")
			}
		}
		if *added != 4 {
			t.Errorf("directories watched %d times, want at the start and at each rescan", *added)
		}
	})
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &inboxWatch{hints: newHints()}
		ctx, cancel := context.WithCancel(t.Context())
		go w.poll(ctx)
		time.Sleep(rescanUnaided)
		if !hinted(w.hints) {
			t.Error("no hint without a watcher")
		}
		cancel()
	})
}

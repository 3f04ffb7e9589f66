package serve

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The directory is the truth and its watcher a hint, so the inbox is looked at
// every so often whatever the watcher says; more often when there is none.
const (
	rescanEvery   = 15 * time.Second
	rescanUnaided = time.Second
)

// inboxWatch gives a hint whenever something may have entered the inbox.
type inboxWatch struct {
	dir   string
	hints hints // for the refresher
	drops hints // for the adopter
	log   *slog.Logger
}

// hint tells both that may find something in the inbox.
func (w *inboxWatch) hint() {
	w.hints.give()
	w.drops.give()
}

// run gives the first hint at once, as the inbox may hold something from
// before, and goes on until ctx ends.
func (w *inboxWatch) run(ctx context.Context) {
	w.hint()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("no inbox watcher, looking every second", "err", err)
		w.poll(ctx)
		return
	}
	defer watcher.Close()
	w.follow(ctx, watcher.Events, watcher.Errors, func() { w.add(watcher) })
}

// poll is what remains without a watcher.
func (w *inboxWatch) poll(ctx context.Context) {
	tick := time.NewTicker(rescanUnaided)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.hint()
		case <-ctx.Done():
			return
		}
	}
}

// follow turns events into hints. add watches the directories, and is called
// again whenever that may have come undone.
func (w *inboxWatch) follow(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, add func()) {
	add()
	rescan := time.NewTicker(rescanEvery)
	defer rescan.Stop()
	for {
		select {
		case e := <-events:
			w.event(e, add)
		case err := <-errs: // above all an overflow: events were lost
			w.log.Warn("inbox watcher", "err", err)
			w.hint()
		case <-rescan.C:
			add()
			w.hint()
		case <-ctx.Done():
			return
		}
	}
}

// add watches the inbox, and the directory above it to learn when the inbox is
// made anew: a watch is on the directory, not on its name. Adding again what is
// watched changes nothing.
func (w *inboxWatch) add(watcher *fsnotify.Watcher) {
	for _, dir := range []string{filepath.Dir(w.dir), w.dir} {
		if err := watcher.Add(dir); err != nil {
			w.log.Warn("inbox not watched", "dir", dir, "err", err)
		}
	}
}

// event gives a hint for a name that appeared. Names that begin with a dot are
// the writer's own, on their way out.
func (w *inboxWatch) event(e fsnotify.Event, add func()) {
	if !e.Has(fsnotify.Create) {
		return
	}
	switch {
	case e.Name == w.dir:
		add()
		w.hint()
	case filepath.Dir(e.Name) == w.dir && !strings.HasPrefix(filepath.Base(e.Name), "."):
		w.hint()
	}
}

package serve

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serene/internal/repo"
)

// slowWriter is a writer on the test's clock. What is submitted between two
// refreshes is answered by the second.
type slowWriter struct {
	began   time.Time
	takes   time.Duration   // how long a refresh takes
	fails   int             // how many refreshes are still to fail
	waiting atomic.Int64    // submitted, not yet answered
	starts  []time.Duration // when each refresh started
	found   []int           // what each refresh answered

	collected []time.Duration // when Collect was called
	keep      repo.Keep       // and with what, the last time
}

func (w *slowWriter) Refresh(ctx context.Context) (int, error) {
	w.starts = append(w.starts, time.Since(w.began))
	if w.fails > 0 {
		w.fails--
		return 0, errors.New("disk full")
	}
	n := int(w.waiting.Swap(0))
	if !sleep(ctx, time.Now().Add(w.takes)) {
		return 0, ctx.Err()
	}
	w.found = append(w.found, n)
	return n, nil
}

func (w *slowWriter) Collect(_ time.Time, keep repo.Keep) ([]repo.Garbage, error) {
	w.collected = append(w.collected, time.Since(w.began))
	w.keep = keep
	return nil, nil
}

// submit makes n transactions arrive at the given times.
func (w *slowWriter) submit(h hints, at ...time.Duration) {
	for _, t := range at {
		time.Sleep(time.Until(w.began.Add(t)))
		w.waiting.Add(1)
		h.give()
	}
}

const ms = time.Millisecond

func TestDebounce(t *testing.T) {
	for _, test := range []struct {
		name   string
		takes  time.Duration
		fails  int
		submit []time.Duration
		starts []time.Duration
		found  []int
	}{
		{"at once when idle", 100 * ms, 0, []time.Duration{0}, []time.Duration{0}, []int{1}},
		{"at once when idle again", 100 * ms, 0, []time.Duration{0, 300 * ms}, []time.Duration{0, 300 * ms}, []int{1, 1}},
		{"one more for all that came meanwhile", 100 * ms, 0,
			[]time.Duration{0, 10 * ms, 20 * ms, 200 * ms, 249 * ms}, []time.Duration{0, 250 * ms}, []int{1, 4}},
		{"one more for what came just after", 100 * ms, 0,
			[]time.Duration{0, 150 * ms, 240 * ms}, []time.Duration{0, 250 * ms}, []int{1, 2}},
		{"never later than max_delay", 5 * time.Second, 0,
			[]time.Duration{0, 1 * time.Second, 4 * time.Second}, []time.Duration{0, 5 * time.Second}, []int{1, 2}},
		{"part of the quiet time before max_delay", 1950 * ms, 0,
			[]time.Duration{0, 50 * ms}, []time.Duration{0, 2050 * ms}, []int{1, 1}},
		{"tries again, later each time", 0, 3,
			[]time.Duration{0}, []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms}, []int{1}},
		{"arrivals do not hurry a writer that fails", 0, 3,
			[]time.Duration{0, 10 * ms, 260 * ms}, []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms}, []int{3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &slowWriter{began: time.Now(), takes: test.takes, fails: test.fails}
				h := newHints()
				stop := start(t, w, h)
				w.submit(h, test.submit...)
				time.Sleep(10 * time.Second)
				stop()
				if !slices.Equal(w.starts, test.starts) || !slices.Equal(w.found, test.found) {
					t.Errorf("refreshes at %v found %v, want %v finding %v", w.starts, w.found, test.starts, test.found)
				}
			})
		})
	}
}

// start runs a refresher until the function it returns is called.
func start(t *testing.T, w *slowWriter, h hints) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &refresher{writer: w, hints: h, log: slog.New(slog.DiscardHandler), figures: &figures{},
		terms: terms{pace: pace{debounce: 150 * ms, maxDelay: 2 * time.Second}, keep: repo.Keep{Generations: 1}}}
	ended := make(chan struct{})
	go func() { r.run(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

func TestEmptyRefreshAsksForNoQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{began: time.Now()}
		h := newHints()
		defer start(t, w, h)()
		h.give() // a rescan
		w.submit(h, 10*ms)
		synctest.Wait()
		if want := []time.Duration{0, 10 * ms}; !slices.Equal(w.starts, want) {
			t.Errorf("refreshes at %v, want %v", w.starts, want)
		}
	})
}

func TestStopFinishesTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{began: time.Now(), takes: time.Second}
		h := newHints()
		stop := start(t, w, h)
		w.submit(h, 0)
		time.Sleep(500 * ms)
		stop()
		if got := time.Since(w.began); got != time.Second || !slices.Equal(w.found, []int{1}) {
			t.Errorf("stopped after %v with %v answered", got, w.found)
		}
	})
}

func TestStopDoesNotWaitOutTheQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{began: time.Now()}
		h := newHints()
		stop := start(t, w, h)
		w.submit(h, 0, 10*ms)
		synctest.Wait()
		stop()
		if got := time.Since(w.began); got != 10*ms || len(w.starts) != 1 {
			t.Errorf("stopped after %v, refreshes at %v", got, w.starts)
		}
	})
}

func TestPaceFollowsReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{began: time.Now()}
		h, changes := newHints(), make(chan terms)
		ctx, cancel := context.WithCancel(t.Context())
		r := &refresher{writer: w, hints: h, changes: changes, log: slog.New(slog.DiscardHandler), figures: &figures{}}
		ended := make(chan struct{})
		go func() { r.run(ctx); close(ended) }()
		changes <- terms{pace: pace{debounce: time.Second, maxDelay: time.Second}}
		w.submit(h, 0, 10*ms)
		time.Sleep(2 * time.Second)
		cancel()
		<-ended
		if want := []time.Duration{0, time.Second}; !slices.Equal(w.starts, want) {
			t.Errorf("refreshes at %v, want %v", w.starts, want)
		}
	})
}

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{began: time.Now()}
		stop := start(t, w, newHints())
		time.Sleep(3 * time.Hour)
		stop()
		if want := []time.Duration{time.Minute, 61 * time.Minute, 121 * time.Minute}; !slices.Equal(w.collected, want) || w.keep.Generations != 1 {
			t.Errorf("collected at %v keeping %v, want %v", w.collected, w.keep, want)
		}
	})
}

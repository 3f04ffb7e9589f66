package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source/aurtest"
)

// lacks waits until the hub knows that the builder lacks something, or nothing.
func (w *world) lacks(want job.Lack, note string) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		all, err := w.client.Builders(w.Context())
		if err == nil && len(all) == 1 && all[0].Lacks == want && all[0].Note == note {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("waited in vain for a builder that lacks %q: %+v, %v", want, all, err)
		}
	}
}

// TestDiskOfContainers: without room for containers no job is taken, and then it
// is.
func TestDiskOfContainers(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	var free atomic.Int64
	free.Store(500 << 20)
	w.box.mu.Lock()
	w.box.free = free.Load
	w.box.mu.Unlock()
	w.lacks(job.LacksDisk, "500 MiB are free, 1024 are needed")
	id := w.build("foo")
	w.until(id, func(r *job.Record) bool { return r.State == job.Waiting })
	w.box.mu.Lock()
	if w.box.dropped == 0 {
		t.Error("downloads that can be had again are not given up")
	}
	w.box.mu.Unlock()
	free.Store(2 << 30)
	w.want(id, job.Done, "", "")
	if r, _ := w.over(id); r.Attempt != 1 {
		t.Errorf("attempt %d", r.Attempt)
	}
	w.lacks("", "")
}

// unready is a sandbox whose engine is gone.
type unready struct{ fakeBox }

func (*unready) Ready(context.Context) error { return errors.New("docker:\nnobody\nanswers") }

func TestLacking(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		name    string
		sandbox Sandbox
		opt     Options
		want    lack
	}{
		{"nothing", &fakeBox{}, Options{}, lack{}},
		{"disk here", &fakeBox{}, Options{Limits: build.Limits{MinFree: 1 << 62}}, lack{of: job.LacksDisk}},
		{"memory", &fakeBox{}, Options{MinMemory: 1 << 62}, lack{of: job.LacksMemory}},
		{"engine", &unready{}, Options{}, lack{job.LacksEngine, "docker: nobody answers"}},
	} {
		c.opt.Log = log
		w := &Worker{opt: c.opt, dir: t.TempDir(), sandbox: c.sandbox}
		got := w.lacking(t.Context())
		if got.of != c.want.of || c.want.note != "" && got.note != c.want.note || (got.note == "") != (got.of == "") {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

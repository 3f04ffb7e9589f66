package hub_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"serene/internal/job"
	"serene/internal/job/hub"
)

// quick has the hub look often.
func quick(o *hub.Options) { o.Lease = 3 * time.Second }

// lacking makes b one that takes no jobs for want of something.
func (b *builder) lacking(what job.Lack, note string) {
	b.w.Helper()
	b.self.Lacks, b.self.Note = what, note
	b.beat()
}

// until waits for the job to be in a state, while builders live.
func (w *world) until(id job.ID, state job.State, alive ...*builder) {
	w.Helper()
	w.eventually("the job to be "+string(state), func() bool {
		for _, b := range alive {
			b.beat()
		}
		return w.read(id).State == state
	})
}

// TestWaitsForDisk: a job that no builder has room for waits, says for what, and
// keeps its place in the queue.
func TestWaitsForDisk(t *testing.T) {
	w := newWorld(t, quick)
	b := w.builder("b1")
	b.lacking(job.LacksDisk, "500 MiB are free, 1024 are needed")
	id := w.one("yay")
	seq := w.read(id).Seq
	w.until(id, job.Waiting, b)
	w.want(id, job.Waiting, "", "for disk: builder b1: 500 MiB are free, 1024 are needed")
	b.lacking("", "")
	w.until(id, job.Queued, b)
	w.want(id, job.Queued, "", "")
	if now := w.read(id).Seq; now != seq {
		t.Errorf("message %d, and now %d", seq, now)
	}
	b.done(b.take())
}

// TestWaitingIsTaken: who has room takes the job before the hub has looked.
func TestWaitingIsTaken(t *testing.T) {
	w := newWorld(t, quick)
	b := w.builder("b1")
	b.lacking(job.LacksMemory, "100 MiB are free, 256 are needed")
	id := w.one("yay")
	w.until(id, job.Waiting, b)
	task := b.take()
	w.want(id, job.Running, "", "")
	b.done(task)
}

// TestRoomElsewhere: one builder with room is enough, and one that is not heard
// of does not count.
func TestRoomElsewhere(t *testing.T) {
	w := newWorld(t, quick)
	full, free := w.builder("b1"), w.builder("b2")
	full.lacking(job.LacksDisk, "none is free")
	id := w.one("yay")
	w.until(id, job.Waiting, full) // b2 is silent after a while
	free.lacking(job.LacksMemory, "none is free")
	w.eventually("the reason to name both", func() bool {
		full.beat()
		free.beat()
		return w.read(id).Reason == "for disk: builder b1: none is free; for memory: builder b2: none is free"
	})
	free.lacking("", "")
	w.until(id, job.Queued, full, free)
	free.done(free.take())
}

// TestWaitingIsWrittenOnce: figures that move do not move the records.
func TestWaitingIsWrittenOnce(t *testing.T) {
	w := newWorld(t, quick)
	b := w.builder("b1")
	b.lacking(job.LacksDisk, "500 MiB are free")
	id := w.one("yay")
	w.until(id, job.Waiting, b)
	record := func() os.FileInfo {
		st, err := os.Stat(filepath.Join(w.opt.State, "builds", string(id), "build.json"))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := record()
	b.lacking(job.LacksDisk, "501 MiB are free")
	other := w.one("zz") // the hub has looked when this one waits
	w.until(other, job.Waiting, b)
	if after := record(); !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("written again: %+v", w.read(id))
	}
	w.want(other, job.Waiting, "", "for disk: builder b1: 500 MiB are free")
	b.lacking(job.LacksMemory, "1 MiB is free")
	w.eventually("another reason", func() bool { b.beat(); return w.read(id).Reason == "for memory: builder b1: 1 MiB is free" })
}

// TestRestartWhileShort: what waits for disk does so after a restart, be the
// queue lost with it, and is taken once.
func TestRestartWhileShort(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := newWorld(t, quick)
		b := w.builder("b1")
		b.lacking(job.LacksDisk, "none is free")
		id := w.one("yay")
		w.until(id, job.Waiting, b)
		w.stop()
		if lost {
			if err := os.RemoveAll(filepath.Join(w.opt.State, "nats")); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		w.until(id, job.Waiting, b)
		b.lacking("", "")
		task := b.take()
		if task.ID != id || task.Attempt != 1 {
			t.Errorf("took %s, attempt %d", task.ID, task.Attempt)
		}
		last := w.one("zz")
		b.done(task)
		if next := b.take(); next.ID != last {
			t.Errorf("took %s, want %s", next.ID, last)
		}
	}
}

package hub

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"serene/internal/job"
)

// TestFollowersAreRungFor has no time pass between what the hub writes and what
// a follower in its process has of it.
func TestFollowersAreRungFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := job.OpenHubDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h := &Hub{opt: Options{}.withDefaults(), dir: dir, jobs: make(map[job.ID]*job.Record)}
		r := &job.Record{ID: job.NewID(time.Now()), Base: "foo", State: job.Running, Attempt: 1, BuilderKey: "k"}
		if err := h.put(r); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var log bytes.Buffer
		ended := make(chan *job.Record)
		go func() {
			last, err := dir.Follow(t.Context(), r.ID, &log)
			if err != nil {
				t.Error(err)
			}
			ended <- last
		}()
		synctest.Wait()
		for at, part := range []string{"a", "b", "c\n"} {
			if _, err := h.takeLog("k", job.Chunk{Run: job.Run{Job: r.ID, Attempt: 1}, Offset: int64(at), Data: []byte(part)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if want := "abc\n"[:at+len(part)]; log.String() != want {
				t.Errorf("follower has %q, not %q", log.String(), want)
			}
		}
		if err := h.finish(r, job.Failed, "compile", "no"); err != nil {
			t.Fatal(err)
		}
		if last := <-ended; last.State != job.Failed || log.String() != "abc\n==> [verdict] failed: compile: no\n" {
			t.Errorf("%+v, %q", last, log.String())
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

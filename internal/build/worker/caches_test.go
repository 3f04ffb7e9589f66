package worker

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source"
	"serene/internal/source/aurtest"
)

// TestCaches: each base has volumes of its own, the same for every build but a
// clean one.
func TestCaches(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"), aurtest.Simple("bar", "1-1"))
	for _, s := range []job.Spec{{Base: "foo"}, {Base: "bar"}, {Base: "bar", Options: job.Options{Clean: true}}} {
		s.Source.Kind = job.SourceAUR
		w.want(w.submit(s), job.Done, "", "")
		w.door.forget() // or it would not be built again
	}
	var all []string
	for _, r := range w.box.recipes {
		all = append(all, r.SourceCache, r.CompilerCache)
	}
	if !strings.HasPrefix(all[0], "serene-sources-") || !strings.HasPrefix(all[1], "serene-ccache-") {
		t.Errorf("of foo: %s", all[:2])
	}
	if all[0] == all[2] || all[1] == all[3] || all[4] != "" || all[5] != "" {
		t.Errorf("of all: %s", all)
	}
	for _, volume := range all[:4] {
		if _, err := os.Stat(filepath.Join(w.state, "build/caches", volume)); err != nil {
			t.Error(err)
		}
	}
}

// TestCachesThatFillTheDisk go with the build that has filled it.
func TestCachesThatFillTheDisk(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	w.box.on("foo", func(context.Context, io.Writer) error {
		w.box.mu.Lock()
		defer w.box.mu.Unlock()
		r := w.box.recipes[len(w.box.recipes)-1]
		w.box.volumes = map[string]time.Time{r.SourceCache: time.Now(), r.CompilerCache: time.Now(), "another": time.Now()}
		if len(w.box.recipes) == 1 {
			return build.ErrNoSpace
		}
		return &build.Failure{Cause: build.CauseDisk, Text: "more than 1 GiB of disk"}
	})
	id := w.build("foo")
	left := func() []string {
		w.box.mu.Lock()
		defer w.box.mu.Unlock()
		return slices.Collect(maps.Keys(w.box.volumes))
	}
	w.until(id, func(r *job.Record) bool { return r.Tries == 1 })
	if got := left(); !slices.Equal(got, []string{"another"}) {
		t.Errorf("the first time: %s", got)
	}
	w.want(id, job.Failed, "disk", "more than 1 GiB of disk")
	w.box.mu.Lock()
	if w.box.dropped != 2 {
		t.Errorf("downloads were dropped %d times", w.box.dropped)
	}
	w.box.mu.Unlock()
	if got := left(); !slices.Equal(got, []string{"another"}) {
		t.Errorf("the second time: %s", got)
	}
}

// TestPrunes: what was not used for long goes at the start, and what has not been
// used for long since then a day later.
func TestPrunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 36 * time.Hour
		ago := func(hours int) time.Time { return time.Now().Add(time.Duration(-hours) * time.Hour) }
		box := &fakeBox{volumes: map[string]time.Time{
			"unknown and old": ago(40), "unknown and new": ago(20), "used": ago(400), "unused": ago(400),
		}}
		w := &Worker{
			opt: Options{Fetcher: &source.Fetcher{Cache: t.TempDir()}, KeepSources: keep, Log: slog.New(slog.DiscardHandler)},
			dir: t.TempDir(), sandbox: box, prepared: make(chan struct{}),
		}
		for _, dir := range []string{"caches", "kept"} {
			if err := os.Mkdir(w.path(dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		make := func(path string, used time.Time) {
			t.Helper()
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, used, used); err != nil {
				t.Fatal(err)
			}
		}
		make(w.path("caches", "used"), ago(20))
		make(w.path("caches", "unused"), ago(40))
		make(w.path("kept", "old"), ago(7*24+2))
		make(w.path("kept", "new"), ago(7*24-2))
		make(filepath.Join(w.opt.Fetcher.Cache, "a"), ago(20))
		make(filepath.Join(w.opt.Fetcher.Cache, "b"), ago(40))

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.prunes(ctx)
		left := func(want string) {
			t.Helper()
			synctest.Wait()
			box.mu.Lock()
			got := slices.Sorted(maps.Keys(box.volumes))
			box.mu.Unlock()
			for _, dir := range []string{w.path("caches"), w.path("kept"), w.opt.Fetcher.Cache} {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					got = append(got, e.Name())
				}
			}
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("left: %s; want %s", s, want)
			}
		}
		left("unknown and new, unknown and old, unused, used, unused, used, new, old, a, b")
		close(w.prepared)
		left("unknown and new, used, used, new, a")
		<-time.After(23 * time.Hour)
		left("unknown and new, used, used, new, a")
		<-time.After(2 * time.Hour)
		left("")
	})
}

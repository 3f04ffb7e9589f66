package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source/aurtest"
)

func TestBuild(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1:2-1"))
	id := w.build("foo")
	r, log := w.over(id)
	if r.State != job.Done || r.Published[0] != "published foo-1:2-1-x86_64.pkg.tar.zst" {
		t.Fatalf("%+v\n%s", r, log)
	}
	f := r.Facts
	if f.Base != "foo" || f.Version != "1:2-1" || len(f.Commit) != 40 || f.URL != w.aur.URL+"/foo.git" || len(f.PkgbuildSHA256) != 64 || f.Image != "sha256:image" {
		t.Errorf("facts %+v", f)
	}
	if want := []job.Package{{Name: "foo", Version: "1:2-1", Arch: "x86_64"}}; !slices.Equal(f.Packages, want) {
		t.Errorf("packages %v", f.Packages)
	}
	for _, line := range []string{
		"==> [fetch] ", "  -> commit ", "==> [plan] ", "  -> foo 1:2-1\n", "==> [build] makepkg\n",
		"==> [publish] to serene\n  -> published foo-1:2-1-x86_64.pkg.tar.zst\n==> [verdict] done\n",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("no %q in\n%s", line, log)
		}
	}
	if got := strings.Join(w.door.pushes[0], " "); got != "push - --repo serene --job "+string(id)+" --attempt 1" {
		t.Errorf("pushed with %s", got)
	}

	// What is published is not built again.
	log = w.want(w.build("foo"), job.Done, "", "foo 1:2-1 is published already")
	if strings.Contains(log, "[build]") {
		t.Errorf("built again:\n%s", log)
	}
	w.stop()
	<-w.ended
	if left, _ := os.ReadDir(filepath.Join(w.state, "build/jobs")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestChain has four packages that need each other built in order, each with
// those before it at hand.
func TestChain(t *testing.T) {
	w := newWorld(t,
		aurtest.Simple("a", "1-1", "depends = b"),
		aurtest.Simple("b", "1-1", "makedepends = libc>=1"),
		aurtest.Simple("c", "1-1", "provides = libc=2", "depends = d"),
		aurtest.Simple("d", "1-1"),
	)
	// What only provides something is looked for when pacman has not found it.
	w.box.on("b", func(context.Context, io.Writer) error {
		if len(w.door.entries) < 2 {
			return &build.Failure{Cause: build.CauseDependency, Text: "pacman: target not found: libc>=1"}
		}
		return nil
	})
	w.want(w.build("a"), job.Done, "", "")
	var order []string
	for _, r := range w.box.recipes {
		order = append(order, r.Base)
	}
	if got := strings.Join(order, " "); got != "b d c b a" {
		t.Errorf("built %s", got)
	}
	last := w.box.recipes[len(w.box.recipes)-1]
	if last.RepoName != "serene" || string(last.RepoKey) != "the key" || !slices.Equal(last.Depends, []string{"b"}) {
		t.Errorf("recipe %+v", last)
	}
	for _, file := range []string{"serene.db", "serene.db.sig", "b-1-1-x86_64.pkg.tar.zst", "b-1-1-x86_64.pkg.tar.zst.sig", "d-1-1-x86_64.pkg.tar.zst"} {
		if !slices.Contains(w.box.repos, file) {
			t.Errorf("no %s among %v", file, w.box.repos)
		}
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"), aurtest.Simple("needy", "1-1", "depends = foo>=2"), aurtest.Simple("cyclic", "1-1", "makedepends = circle"),
		aurtest.Simple("circle", "1-1", "depends = cyclic"))
	w.box.on("foo", func(context.Context, io.Writer) error {
		return &build.Failure{Cause: build.CauseCompile, Text: "A failure occurred in build()."}
	})
	log := w.want(w.build("foo"), job.Failed, "compile", "A failure occurred in build().")
	if !strings.HasSuffix(log, "\n==> [verdict] failed: compile: A failure occurred in build().\n") {
		t.Errorf("log\n%s", log)
	}
	w.want(w.build("needy"), job.Failed, "dependency", "needy depends on foo>=2; the AUR has version 1-1")
	w.want(w.build("cyclic"), job.Failed, "dependency", "dependency cycle: circle → cyclic → circle")
	w.want(w.build("absent"), job.Failed, "sources", "absent")
	w.want(w.submit(job.Spec{Source: job.Source{Kind: job.SourceGit, URL: "ext::sh -c true"}}), job.Failed, "sources", "")
	if len(w.door.pushes) != 0 {
		t.Errorf("pushed %v", w.door.pushes)
	}
}

func TestHostTroubleIsTriedAgain(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	tries := 0
	w.box.on("foo", func(context.Context, io.Writer) error {
		if tries++; tries == 1 {
			return errors.New("docker went away")
		}
		return nil
	})
	log := w.want(w.build("foo"), job.Done, "", "")
	if !strings.Contains(log, "==> [queue] trouble of builder b1: docker went away; next try in 5s\n") {
		t.Errorf("log\n%s", log)
	}
}

func TestVersionThatMoves(t *testing.T) {
	p := aurtest.Simple("foo-git", "1-1")
	p.Files["PKGBUILD"] += "pkgver() {\n\techo 2\n}\n"
	w := newWorld(t, p, aurtest.Simple("still", "1-1"))
	w.box.version = "2-1"
	if r, log := w.over(w.build("foo-git")); r.State != job.Done || r.Facts.Version != "2-1" {
		t.Errorf("%+v\n%s", r, log)
	}
	w.want(w.build("foo-git"), job.Done, "", "foo-git 2-1 is published already")
	w.want(w.build("still"), job.Failed, "package", "it made version 2-1, and the PKGBUILD has 1-1")
}

func TestTar(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	text := "pkgname=mine\npkgver=1\npkgrel=1\narch=(x86_64)\n"
	tw.WriteHeader(&tar.Header{Name: "mine/PKGBUILD", Mode: 0o644, Size: int64(len(text))})
	io.WriteString(tw, text)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	id := job.NewID(time.Now())
	sum, err := w.dir.AddSource(id, &b, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	// The .SRCINFO is missing, so the sandbox is asked; the fake one then
	// cannot build, and says so by an error of its own.
	w.box.on("unknown", func(context.Context, io.Writer) error {
		return &build.Failure{Cause: build.CausePackage, Text: "this far"}
	})
	w.submit(job.Spec{ID: id, Source: job.Source{Kind: job.SourceTar, SHA256: sum}})
	log := w.want(id, job.Failed, "package", "this far")
	if !strings.Contains(log, "there is no .SRCINFO: makepkg is asked\n  -> unknown 1-1\n") {
		t.Errorf("log\n%s", log)
	}
}

// TestCancel stops a build that hangs, within the time that is promised.
func TestCancel(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	ended := make(chan time.Time, 1)
	w.box.on("foo", func(ctx context.Context, _ io.Writer) error {
		<-ctx.Done()
		ended <- time.Now()
		return context.Cause(ctx)
	})
	id := w.build("foo")
	w.until(id, func(r *job.Record) bool { return r.Phase == "build" })
	asked := time.Now()
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: id, By: job.Asker{Comment: "dev"}}); err != nil {
		t.Fatal(err)
	}
	if took := (<-ended).Sub(asked); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	w.want(id, job.Cancelled, "", "by dev")
}

// TestDrain hands the job back when the builder is told to stop; the next one
// takes it.
func TestDrain(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	hang := true
	w.box.on("foo", func(ctx context.Context, _ io.Writer) error {
		if !hang {
			return nil
		}
		hang = false
		<-ctx.Done()
		return context.Cause(ctx)
	})
	id := w.build("foo")
	w.until(id, func(r *job.Record) bool { return r.Phase == "build" })
	w.stop()
	<-w.ended
	if r, err := w.dir.Read(id); err != nil || r.State != job.Queued || r.Reason != "builder b1 has stopped" {
		t.Errorf("%+v, %v", r, err)
	}
	w.start(w.state, slog.New(slog.DiscardHandler))
	w.want(id, job.Done, "", "")
	if r, _ := w.over(id); r.Attempt != 2 || r.Tries != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOneWorkerForADirectory(t *testing.T) {
	w := newWorld(t)
	if _, err := Open(Options{State: w.state}); err == nil || !strings.Contains(err.Error(), "another serene-build") {
		t.Errorf("error %v", err)
	}
}

// TestKeptPackages are published later, without being built again.
func TestKeptPackages(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	w.door.refuse = func() error { return &Refusal{4, "push -: foo is held: it breaks"} }
	id := w.build("foo")
	w.want(id, job.Failed, "package", "push: push -: foo is held: it breaks")
	if r, _ := w.over(id); !r.Kept {
		t.Error("not kept")
	}
	w.door.mu.Lock()
	w.door.refuse = nil
	w.door.mu.Unlock()
	if _, err := w.client.Retry(t.Context(), job.Change{ID: id, Publish: true}); err != nil {
		t.Fatal(err)
	}
	w.want(id, job.Done, "", "")
	if n := len(w.box.recipes); n != 1 {
		t.Errorf("built %d times", n)
	}
	if r, _ := w.over(id); r.Attempt != 2 || r.Kept || len(r.Published) != 1 {
		t.Errorf("%+v", r)
	}
	if left, _ := os.ReadDir(filepath.Join(w.state, "build/kept")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPushIsTriedAgain(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	tries := 0
	w.door.refuse = func() error {
		if tries++; tries < 3 {
			return &Refusal{7, "push -: accepted, not yet published"}
		}
		return nil
	}
	w.want(w.build("foo"), job.Done, "", "")
}

// TestEndlessLog keeps its head and its tail.
func TestEndlessLog(t *testing.T) {
	w := newWorld(t, aurtest.Simple("foo", "1-1"))
	w.box.on("foo", func(_ context.Context, log io.Writer) error {
		for i := range 2_000_000 {
			fmt.Fprintf(log, "this is line %07d of very many that say nothing\n", i)
		}
		return nil
	})
	log := w.want(w.build("foo"), job.Done, "", "")
	if len(log) > 65<<20 || !strings.Contains(log, "line 0000000 of") || !strings.Contains(log, "line 1999999 of") || !strings.Contains(log, " bytes left out\n") {
		t.Errorf("%d bytes", len(log))
	}
}

package receive

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm/alpmtest"
	"serene/internal/job"
	"serene/internal/job/hub"
	"serene/internal/source"
	"serene/internal/source/aurtest"
)

const builderKey = "SHA256:builder"

// buildWorld is a world with a job queue, an AUR, and a builder that does what
// the test says.
type buildWorld struct {
	*world
	hub   *hub.Hub
	bench *job.Bench
}

func newBuildWorld(t *testing.T, packages ...aurtest.Package) *buildWorld {
	t.Helper()
	w := &buildWorld{world: newWorld(t, true)}
	var err error
	w.hub, err = hub.Open(hub.Options{State: w.state, Arches: []string{"x86_64", "aarch64"}, Allow: AllowBuild})
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.hub.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); w.hub.Close() })
	if w.Builds, err = job.OpenDir(w.state); err != nil {
		t.Fatal(err)
	}
	w.Queue = func() (*job.Client, error) { return client, nil }
	w.AUR = &source.AUR{URL: aurtest.New(t, packages...).URL}
	nc, err := job.Connect("b1", builderKey, func() (net.Conn, error) { return w.hub.DialWork(builderKey, nil) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if w.bench, err = job.NewBench(nc, builderKey, "b1"); err != nil {
		t.Fatal(err)
	}
	w.beat()
	return w
}

func (w *buildWorld) beat(tasks ...*job.Task) {
	w.t.Helper()
	self := job.Builder{ID: "b1", Instance: "1", Name: "b1", Arches: []string{"x86_64"}, Slots: 2}
	for _, t := range tasks {
		self.Jobs = append(self.Jobs, t.Run())
	}
	if _, err := w.bench.Beat(w.t.Context(), self); err != nil {
		w.t.Fatal(err)
	}
}

func (w *buildWorld) take() *job.Task {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	task, err := w.bench.Take(ctx, "x86_64")
	if err != nil || task == nil {
		w.t.Fatalf("no job: %v", err)
	}
	return task
}

func (w *buildWorld) end(t *job.Task, r job.Report) {
	w.t.Helper()
	if _, err := t.End(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

// ask runs a build verb that queues one job, and returns its id.
func (w *buildWorld) ask(r result) job.ID {
	w.t.Helper()
	w.must(r)
	word := strings.Fields(r.out)
	id, err := job.ParseID(word[1])
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func TestBuildAUR(t *testing.T) {
	split := aurtest.Simple("base", "1-1")
	split.Files[".SRCINFO"] = strings.Replace(split.Files[".SRCINFO"], "pkgname = base", "pkgname = one\n\npkgname = base-two", 1)
	w := newBuildWorld(t, aurtest.Simple("yay", "1-1"), split)
	id := w.ask(w.do("", "build", "yay"))
	r, err := w.Builds.Read(id)
	if err != nil || r.Base != "yay" || r.Repo != "serene" || r.Arch != "x86_64" || r.Source.Kind != job.SourceAUR || r.By.Comment != "ci@example" {
		t.Errorf("%+v, %v", r, err)
	}

	// A name of a package, and the same base by its own name.
	one := w.ask(w.do("", "build", "one", "base"))
	if r, err := w.Builds.Read(one); err != nil || r.Base != "base" {
		t.Errorf("%+v, %v", r, err)
	}

	again := w.do("", "build", "yay")
	if w.ask(again) != id || again.err != "yay is asked for already: job "+string(id)+" is queued\n" {
		t.Errorf("again: %+v", again)
	}
	w.want(w.do("", "build", "nowhere"), exitNotFound, "build: there is no nowhere in the AUR")
	w.want(w.do("", "build", "-x"), exitUsage, "build: unknown flag -x: it takes --git --branch --path --follow --clean --network --no-deps --repo --arch --json --help")
	w.want(w.do("", "build", "../yay"), exitUsage, `build: "../yay" is no package's name`)
	w.want(w.do("", "build", "--network", "maybe", "yay"), exitUsage, "build: --network takes fetch, open or none")
	w.want(w.do("", "build", "--repo", "nowhere", "yay"), exitNotFound, "build: no repository nowhere to build for")
	w.want(w.do("", "build", "--arch", "riscv64", "yay"), exitNotFound, "build: serene has no architecture riscv64")
	w.want(w.as("--package 'linux-*'", "", "build", "yay"), exitDenied, "build: not allowed to build yay: this key has --package linux-*")
	w.want(w.as("--allow read", "", "build", "yay"), exitDenied, "build: not allowed: this key has --allow read")
}

func TestBuildGit(t *testing.T) {
	w := newBuildWorld(t)
	id := w.ask(w.do("", "build", "--git", "https://example.org/foo.git", "--branch", "main", "--path", "pkg", "--clean"))
	r, err := w.Builds.Read(id)
	want := job.Source{Kind: job.SourceGit, URL: "https://example.org/foo.git", Branch: "main", Path: "pkg"}
	if err != nil || r.Source != want || !r.Options.Clean {
		t.Errorf("%+v, %v", r, err)
	}
	for _, url := range []string{"ext::sh -c true", "--upload-pack=true", "file:///etc", "http://example.org/x", "git@example.org:x"} {
		if r := w.do("", "build", "--git="+url); r.code != exitUsage {
			t.Errorf("%s: exit code %d: %s", url, r.code, r.err)
		}
	}
	if r := w.do("", "build", "--branch", "x", "yay"); r.code != exitUsage {
		t.Errorf("--branch without --git: %d", r.code)
	}
}

func TestBuildTar(t *testing.T) {
	w := newBuildWorld(t)
	sent := tarOf(t, "PKGBUILD", "pkgname=foo\n")
	id := w.ask(w.do(sent, "build", "-"))
	var got bytes.Buffer
	if err := w.take().CopySource(t.Context(), &got); err != nil || got.String() != sent {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if r, err := w.Builds.Read(id); err != nil || r.Source.SHA256 != digest([]byte(sent)) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, cut := range []string{"", sent[:len(sent)-600], sent[:1024]} {
		w.want(w.do(cut, "build", "-"), exitContent, "build -: stdin is not a tar, or one that is cut off: tar c . | ssh HOST build -")
	}
	if left := w.entries("builds"); len(left) != 2 { // the job, and the lock
		t.Errorf("left behind: %v", left)
	}
}

// TestFollow has build -f print the log as it grows, and end as the job does.
func TestFollow(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("yay", "1-1"))
	ended := make(chan result)
	go func() { ended <- w.do("", "build", "-f", "yay") }()
	task := w.take()
	io.WriteString(task.LogWriter(t.Context()), "hello \x1b[31mred\x07 caf\u00e9 \u009b1m\n")
	w.end(task, job.Report{End: job.EndFailed, Cause: "compile", Reason: "no"})
	r := <-ended
	if r.code != exitFailed || r.err != "build: failed: compile: no\n" {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	want := "queued " + string(task.ID) + " yay\n==> [queue] job " + string(task.ID) + ", attempt 1, on builder b1\nhello [31mred caf\u00e9 1m\n==> [verdict] failed: compile: no\n"
	if r.out != want {
		t.Errorf("printed\n%q, want\n%q", r.out, want)
	}

	r = w.do("", "log", "yay")
	if _, after, _ := strings.Cut(want, "\n"); w.must(r).out != after {
		t.Errorf("log\n%s", r.out)
	}
	r = w.do("", "log", "-f", "--json", string(task.ID))
	var row jobRow
	if err := json.Unmarshal([]byte(r.out), &row); err != nil || row.State != job.Failed || row.Cause != "compile" || r.code != exitFailed {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFollowSucceeds(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("yay", "1-1"))
	ended := make(chan result)
	go func() { ended <- w.do("", "build", "-f", "--json", "yay") }()
	w.end(w.take(), job.Report{End: job.EndDone})
	r := w.must(<-ended)
	if !strings.HasPrefix(r.out, `{"id":`) || strings.Count(r.out, "\n") != 1 || !strings.Contains(r.out, `"state":"done","cause":""`) {
		t.Errorf("printed %s", r.out)
	}
	if !strings.HasSuffix(r.err, "==> [verdict] done\n") {
		t.Errorf("log %s", r.err)
	}
}

func TestJobs(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("a", "1-1"), aurtest.Simple("b", "1-1"))
	a := w.ask(w.do("", "build", "a"))
	w.end(w.take(), job.Report{End: job.EndFailed, Cause: "checksum", Reason: "x"})
	b := w.ask(w.do("", "build", "b"))
	r := w.must(w.do("", "jobs"))
	if want := string(a) + " failed a: checksum: x\n" + string(b) + " queued b\n"; r.out != want {
		t.Errorf("jobs\n%s, want\n%s", r.out, want)
	}
	if r := w.must(w.do("", "jobs", "--json", "b")); !strings.Contains(r.out, `"id":"`+string(b)+`","pkgbase":"b","state":"queued","cause":""`) {
		t.Errorf("jobs %s", r.out)
	}
	if r := w.must(w.as("--package x", "", "jobs")); r.out != "" {
		t.Errorf("another's jobs: %s", r.out)
	}
}

func TestCancelAndRetry(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("yay", "1-1"))
	id := w.ask(w.do("", "build", "yay"))
	r := w.must(w.do("", "cancel", "yay"))
	if want := string(id) + " cancelled yay: by ci@example\n"; r.out != want {
		t.Errorf("cancel %s", r.out)
	}
	w.want(w.do("", "cancel", string(id)), exitConflict, "cancel "+string(id)+": it is over: cancelled")
	w.must(w.do("", "retry", "yay"))
	w.end(w.take(), job.Report{End: job.EndDone})
	w.want(w.do("", "retry", string(id)), exitConflict, "retry "+string(id)+": it is done")
	w.want(w.do("", "cancel", "nope"), exitNotFound, "cancel nope: no such job, and none for a package base of that name")
	w.want(w.do("", "log", "0000000-0000"), exitNotFound, "log 0000000-0000: no such job, and none for a package base of that name")
}

// TestOwnJobs: a key that may only build sees and ends its own jobs alone.
func TestOwnJobs(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("mine", "1-1"), aurtest.Simple("other", "1-1"))
	other := mustRights(t, "serene-receive --allow build")
	ask := func(key string, argv ...string) result {
		var out, err bytes.Buffer
		code := w.Run(t.Context(), Caller{Key: key, Rights: other}, argv, Streams{In: strings.NewReader(""), Out: &out, Err: &err})
		return result{code, out.String(), err.String()}
	}
	mine, theirs := w.ask(ask("SHA256:me", "build", "mine")), w.ask(ask("SHA256:you", "build", "other"))
	if r := w.must(ask("SHA256:me", "jobs")); r.out != string(mine)+" queued mine\n" {
		t.Errorf("jobs %s", r.out)
	}
	for _, verb := range []string{"log", "cancel", "explain", "retry"} {
		if r := ask("SHA256:me", verb, string(theirs)); r.code != exitNotFound {
			t.Errorf("%s of another's: %d %s", verb, r.code, r.err)
		}
	}
	w.must(ask("SHA256:me", "cancel", string(mine)))
}

func TestExplain(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("a", "1-1"))
	w.push("a", "0.9-1")
	w.ask(w.do("", "build", "a"))
	task := w.take()
	w.end(task, job.Report{End: job.EndParked, Needs: []job.Need{{Base: "b", For: "b>=2"}}})
	r := w.must(w.do("", "explain", "a"))
	for _, want := range []string{
		string(task.ID) + " waiting a: waits for b (", "asked for by ci@example at ", ", from the AUR\n",
		"  needs b, for b>=2:\n", " queued b\n", "builder b1 for x86_64 jobs 0/2 load 0.00 heartbeat ", "published: serene/x86_64 a 0.9-1\n",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if r := w.must(w.do("", "status")); !strings.Contains(r.out, "builder b1 for x86_64 ") {
		t.Errorf("status\n%s", r.out)
	}
}

// TestPushForAJob is what a builder does at the end, and what it must not do.
func TestPushForAJob(t *testing.T) {
	w := newBuildWorld(t, aurtest.Simple("foo", "1-1"))
	work := mustRights(t, "serene-receive --allow work")
	push := func(key, stdin string, argv ...string) result {
		var out, err bytes.Buffer
		code := w.Run(t.Context(), Caller{Key: key, Rights: work}, append([]string{"push", "-"}, argv...), Streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
		return result{code, out.String(), err.String()}
	}
	id := w.ask(w.as("--allow build --package 'foo*'", "", "build", "foo"))
	task := w.take()
	facts := job.Facts{Base: "foo", Commit: "abc", Image: "sha256:image", Packages: []job.Package{{Name: "foo", Version: "1-1", Arch: "x86_64"}, {Name: "bar", Version: "1-1", Arch: "x86_64"}}}
	if err := task.Report(t.Context(), job.Report{Phase: "publish", Facts: facts}); err != nil {
		t.Fatal(err)
	}
	of := func(name, version string, opts ...alpmtest.Option) string {
		data, file := alpmtest.Package(name, version, opts...)
		return tarOf(t, file, string(data))
	}
	good := of("foo", "1-1")
	args := []string{"--job", string(id), "--attempt", "1"}
	file := "foo-1-1-x86_64.pkg.tar.zst"
	for name, tt := range map[string]struct {
		r    result
		code int
		line string
	}{
		"no job":          {push(builderKey, good), exitDenied, "push -: this key pushes for jobs only: --job"},
		"another attempt": {push(builderKey, good, "--job", string(id), "--attempt", "2"), exitDenied, "push -: attempt 2 at job " + string(id) + " does not count any more"},
		"another key":     {push("SHA256:evil", good, args...), exitDenied, "push -: attempt 1 at job " + string(id) + " does not count any more"},
		"another job":     {push(builderKey, good, "--job", "0000000-0000", "--attempt", "1"), exitDenied, "push -: attempt 1 at job 0000000-0000 does not count any more"},
		"another repo":    {push(builderKey, good, append(args, "--repo", "testing")...), exitDenied, "push " + file + ": the job is for serene"},
		"another base":    {push(builderKey, of("foo", "1-1", alpmtest.Base("evil")), args...), exitDenied, "push " + file + ": its base is evil, and the job builds foo"},
		"another version": {push(builderKey, of("foo", "2-1"), args...), exitDenied, "push foo-2-1-x86_64.pkg.tar.zst: the job does not make foo 2-1 for x86_64"},
		"another name":    {push(builderKey, of("baz", "1-1", alpmtest.Base("foo")), args...), exitDenied, "push baz-1-1-x86_64.pkg.tar.zst: the job does not make baz 1-1 for x86_64"},
		"not the asker's": {push(builderKey, of("bar", "1-1", alpmtest.Base("foo")), args...), exitDenied, "push bar-1-1-x86_64.pkg.tar.zst: ci@example, who asked for the job, may not have bar built"},
	} {
		t.Run(name, func(t *testing.T) { w.want(tt.r, tt.code, tt.line) })
	}
	w.must(push(builderKey, good, args...))
	w.end(task, job.Report{End: job.EndDone})
	if r := push(builderKey, good, args...); r.code != exitDenied {
		t.Errorf("pushed after the job: %d", r.code)
	}
	r := w.must(w.do("", "info", "foo"))
	for _, want := range []string{"Built By Job    : " + string(id) + "\n", "Asked For By    : ci@example SHA256:abc\n", "Image           : sha256:image\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if r := w.must(w.do("", "info", "--json", "foo")); !strings.Contains(r.out, `"provenance":{"job":"`+string(id)+`"`) {
		t.Errorf("info %s", r.out)
	}
	w.empty()
}

func TestNoQueue(t *testing.T) {
	w := newWorld(t, false)
	w.Builds, _ = job.OpenDir(w.state)
	if r := w.do(tarOf(t, "PKGBUILD", "x"), "build", "-"); r.code != exitBusy {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

func TestRightsTravel(t *testing.T) {
	for _, line := range []string{"serene-receive", "serene-receive --allow build --package 'a*,b' --repo serene --arch x86_64 --max-size 1MiB"} {
		r := mustRights(t, line)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Rights
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if (Caller{Rights: back}).has() != (Caller{Rights: r}).has() || back.Verbs.all != r.Verbs.all {
			t.Errorf("%s: %s", line, data)
		}
	}
	var nothing Rights
	if err := json.Unmarshal([]byte("{}"), &nothing); err != nil || nothing.allow(access{verb: buildVerb()}) {
		t.Error("no rights became some")
	}
}

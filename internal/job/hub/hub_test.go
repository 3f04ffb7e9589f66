package hub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"serene/internal/job"
	"serene/internal/job/hub"
)

func TestLife(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	w.want(id, job.Queued, "", "")
	b := w.builder("b1")
	task := b.take()
	if task.ID != id || task.Attempt != 1 || task.Base != "yay" {
		t.Errorf("took %+v", task.Record)
	}
	if err := task.Report(t.Context(), job.Report{Phase: "build", Facts: job.Facts{Base: "yay", Commit: "abc"}}); err != nil {
		t.Fatal(err)
	}
	if r := w.read(id); r.State != job.Running || r.Phase != "build" || r.Facts.Commit != "abc" || r.Builder != "b1" {
		t.Errorf("while it runs: %+v", r)
	}
	b.print(task, "hello\n")
	if state := b.end(task, job.Report{End: job.EndDone, Published: []string{"published yay"}}); state != job.Done {
		t.Errorf("state %s", state)
	}
	w.want(id, job.Done, "", "")
	if r := w.read(id); r.Published[0] != "published yay" || r.Ended.IsZero() {
		t.Errorf("in the end: %+v", r)
	}
	want := "==> [queue] job " + string(id) + ", attempt 1, on builder b1\nhello\n==> [verdict] done\n"
	if got := w.log(id); got != want {
		t.Errorf("log\n%swant\n%s", got, want)
	}
}

func TestFailure(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	b.end(b.take(), job.Report{End: job.EndFailed, Cause: "compile", Reason: "build()\n failed\n"})
	w.want(id, job.Failed, "compile", "build() failed")
	if log := w.log(id); !strings.HasSuffix(log, "\n==> [verdict] failed: compile: build() failed\n") {
		t.Errorf("log %q", log)
	}
	if _, err := w.client.Retry(t.Context(), job.Change{ID: id, By: job.Asker{Comment: "dev"}}); err != nil {
		t.Fatal(err)
	}
	w.want(id, job.Queued, "", "")
	task := b.take()
	if task.Attempt != 2 {
		t.Errorf("attempt %d", task.Attempt)
	}
	b.done(task)
	if _, err := w.client.Retry(t.Context(), job.Change{ID: id}); !errors.Is(err, job.ErrConflict) {
		t.Errorf("retry of what is done: %v", err)
	}
}

func TestSameAgainJoins(t *testing.T) {
	w := newWorld(t)
	first, second := w.submit("yay")[0], w.submit("yay")[0]
	if first.Joined || !second.Joined || first.ID != second.ID {
		t.Errorf("%+v, then %+v", first, second)
	}
}

func TestOtherContentWaits(t *testing.T) {
	w := newWorld(t)
	first := w.one("yay")
	other := job.Spec{
		ID: job.NewID(time.Now()), Base: "yay", Repo: "serene", Arch: arch,
		Source: job.Source{Kind: job.SourceAUR, Modified: 7},
	}
	all, err := w.client.Submit(t.Context(), job.Submission{Jobs: []job.Spec{other}})
	if err != nil || all[0].Joined {
		t.Fatalf("%+v, %v", all, err)
	}
	w.want(other.ID, job.Waiting, "", "waits for job "+string(first)+", which builds yay as well")
	b := w.builder("b1")
	b.end(b.take(), job.Report{End: job.EndFailed, Cause: "compile", Reason: "no"})
	w.want(other.ID, job.Queued, "", "")
	b.done(b.take())
	w.want(other.ID, job.Done, "", "")
}

// TestTwoBuildersShare has six jobs done by two builders, none twice.
func TestTwoBuildersShare(t *testing.T) {
	w := newWorld(t)
	w.submit("a", "b", "c", "d", "e", "f")
	var mu sync.Mutex
	took := map[string][]string{} // by pkgbase
	var all sync.WaitGroup
	for _, name := range []string{"b1", "b2"} {
		b := w.builder(name)
		all.Go(func() {
			for range 3 {
				task := b.take()
				mu.Lock()
				took[task.Base] = append(took[task.Base], name)
				mu.Unlock()
				b.done(task)
			}
		})
	}
	all.Wait()
	for base, by := range took {
		if len(by) != 1 {
			t.Errorf("%s was taken by %s", base, by)
		}
	}
	if len(took) != 6 {
		t.Errorf("took %v", took)
	}
}

// TestBuilderDies has a job taken up again when its builder falls silent, and
// what the first still says then is refused.
func TestBuilderDies(t *testing.T) {
	w := newWorld(t, func(o *hub.Options) { o.Lease = 300 * time.Millisecond })
	id := w.one("yay")
	dead := w.builder("dead").take()
	w.eventually("the job to be queued again", func() bool { return w.read(id).State == job.Queued })
	w.want(id, job.Queued, "", "builder dead was not heard of for 300ms")
	alive := w.builder("alive")
	task := alive.take()
	if task.ID != id || task.Attempt != 2 {
		t.Errorf("took %s, attempt %d", task.ID, task.Attempt)
	}
	if err := dead.Report(t.Context(), job.Report{Phase: "build"}); !errors.Is(err, job.ErrStale) {
		t.Errorf("report of the first: %v", err)
	}
	if _, err := dead.LogWriter(t.Context()).Write([]byte("late\n")); !errors.Is(err, job.ErrStale) {
		t.Errorf("output of the first: %v", err)
	}
	late := job.Publication{Job: id, Attempt: dead.Attempt, Key: "SHA256:dead/key+", Commit: true}
	if _, err := w.client.Publishing(t.Context(), late); !errors.Is(err, job.ErrStale) {
		t.Errorf("publishing by the first: %v", err)
	}
	if _, err := dead.End(t.Context(), job.Report{End: job.EndDone}); !errors.Is(err, job.ErrStale) {
		t.Errorf("end of the first: %v", err)
	}
	alive.beat(task)
	alive.done(task)
	if log := w.log(id); strings.Contains(log, "late") {
		t.Errorf("log %s", log)
	}
}

// TestBuilderThatDiesAgainAndAgain ends its job.
func TestBuilderThatDiesAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	for i := range 6 {
		b.take()
		b.self.Instance = strings.Repeat("x", i+2)
		b.beat()
	}
	w.want(id, job.Failed, job.CauseHost, "given up after 6 tries: builder b1 was started anew")
}

func TestBuilderRestarts(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	old := b.take()
	if stop := b.beat(old); len(stop) != 0 {
		t.Errorf("to give up: %v", stop)
	}
	b.self.Instance = "2"
	b.beat()
	w.want(id, job.Queued, "", "builder b1 was started anew")
	task := b.take()
	if task.Attempt != 2 {
		t.Errorf("attempt %d", task.Attempt)
	}
	if stop := b.beat(old, task); len(stop) != 1 || stop[0].Attempt != 1 {
		t.Errorf("to give up: %v", stop)
	}
}

func TestHandBackAndTrouble(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	if state := b.end(b.take(), job.Report{End: job.EndHandBack}); state != job.Queued {
		t.Errorf("handed back: %s", state)
	}
	w.want(id, job.Queued, "", "builder b1 has stopped")
	task := w.builder("b2").take() // at once
	state, err := task.End(t.Context(), job.Report{End: job.EndTrouble, Reason: "docker is not there"})
	if err != nil || state != job.Queued {
		t.Errorf("trouble: %s, %v", state, err)
	}
	w.want(id, job.Queued, "", "docker is not there")
	if r := w.read(id); r.Tries != 1 {
		t.Errorf("tries %d", r.Tries)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	queued, running := w.one("zz"), w.one("yay")
	by := job.Asker{Comment: "dev"}
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: queued, By: by}); err != nil {
		t.Fatal(err)
	}
	w.want(queued, job.Cancelled, "", "by dev")
	b := w.builder("b1")
	task := b.take()
	if task.ID != running {
		t.Fatalf("took %s", task.Label())
	}
	told := make(chan job.Order, 1)
	stop, err := b.Orders(func(o job.Order) error { told <- o; return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	b.beat(task)
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: running, By: by}); err != nil {
		t.Fatal(err)
	}
	if o := <-told; o.Stop == nil || o.Stop.Run != task.Run() {
		t.Errorf("told %+v", o)
	}
	if stop := b.beat(task); len(stop) != 1 {
		t.Errorf("to give up: %v", stop)
	}
	if _, err := task.End(t.Context(), job.Report{End: job.EndDone}); !errors.Is(err, job.ErrStale) {
		t.Errorf("end: %v", err)
	}
	w.want(running, job.Cancelled, "", "by dev")
	if log := w.log(running); !strings.HasSuffix(log, "==> [verdict] cancelled: by dev\n") {
		t.Errorf("log %q", log)
	}
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: running}); !errors.Is(err, job.ErrConflict) {
		t.Errorf("cancelled again: %v", err)
	}
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: "0000000-0000"}); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("cancelled what is not there: %v", err)
	}
}

func TestNoCancelWhilePublishing(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	task := b.take()
	p := job.Publication{Job: id, Attempt: 1, Key: b.key, Commit: true}
	if _, err := w.client.Publishing(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Cancel(t.Context(), job.Change{ID: id}); !errors.Is(err, job.ErrConflict) {
		t.Errorf("cancel: %v", err)
	}
	p.Key = "SHA256:another"
	if _, err := w.client.Publishing(t.Context(), p); !errors.Is(err, job.ErrStale) {
		t.Errorf("with another key: %v", err)
	}
	b.done(task)
}

// TestRestart has a hub go while one job runs and one is queued.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	ids := []job.ID{w.one("a"), w.one("b")}
	b := w.builder("b1")
	task := b.take()
	b.beat(task)
	out := task.LogWriter(t.Context())
	io.WriteString(out, "before\n")
	w.stop()
	w.start()
	io.WriteString(out, "after\n") // its connection comes back by itself
	if stop := b.beat(task); len(stop) != 0 {
		t.Errorf("to give up: %v", stop)
	}
	b.done(task)
	if log := w.log(ids[0]); !strings.Contains(log, "before\nafter\n") {
		t.Errorf("log %s", log)
	}
	b.done(b.take())
	for _, id := range ids {
		w.want(id, job.Done, "", "")
	}
}

// TestQueueIsLost has all jobs done although the queue's store is gone.
func TestQueueIsLost(t *testing.T) {
	w := newWorld(t)
	w.submit("a", "b", "c")
	b := w.builder("b1")
	b.take()
	w.stop()
	if err := os.RemoveAll(filepath.Join(w.opt.State, "nats")); err != nil {
		t.Fatal(err)
	}
	w.start()
	b.beat()
	for range 3 {
		b.done(b.take())
	}
}

func TestOneHub(t *testing.T) {
	w := newWorld(t)
	if h, err := hub.Open(w.opt); err == nil {
		h.Close()
		t.Error("a second hub has started")
	}
}

// TestOutputTwice: what is sent again, as after an answer that was lost, is
// there once.
func TestOutputTwice(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	b := w.builder("b1")
	task := b.take()
	for _, text := range []string{"abc", "abc", "abcdef", "a"} {
		b.print(task, text) // each writer begins at 0
	}
	if log := w.log(id); !strings.HasSuffix(log, "\nabcdef") {
		t.Errorf("log %q", log)
	}
}

func TestOutputIsBounded(t *testing.T) {
	w := newWorld(t, func(o *hub.Options) { o.LogMax = 1000 })
	w.one("yay")
	task := w.builder("b1").take()
	_, err := task.LogWriter(t.Context()).Write(bytes.Repeat([]byte("x"), 2<<20))
	if !errors.Is(err, job.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
}

func TestFollow(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	var out bytes.Buffer
	ended := make(chan *job.Record)
	go func() {
		r, err := w.dir.Follow(t.Context(), id, &out)
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	b := w.builder("b1")
	task := b.take()
	b.print(task, lines("line %d", 10_000))
	b.done(task)
	if r := <-ended; r.State != job.Done || out.String() != w.log(id) {
		t.Errorf("%s, %d bytes", r.State, out.Len())
	}
}

func TestContent(t *testing.T) {
	w := newWorld(t)
	tar := bytes.Repeat([]byte("0123456789"), 100_000)
	id := job.NewID(time.Now())
	sum, err := w.dir.AddSource(id, bytes.NewReader(tar), 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	spec := job.Spec{ID: id, Repo: "serene", Arch: arch, Source: job.Source{Kind: job.SourceTar, SHA256: sum}}
	if _, err := w.client.Submit(t.Context(), job.Submission{Jobs: []job.Spec{spec}}); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := w.builder("b1").take().CopySource(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), tar) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

// TestSocket reaches the hub as a session behind OpenSSH does.
func TestSocket(t *testing.T) {
	w := newWorld(t)
	st, err := os.Stat(filepath.Join(w.opt.State, "nats.sock"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", st, err)
	}
	nc, err := job.Connect("verb", "", func() (net.Conn, error) { return hub.DialSocket(w.opt.State) })
	if err != nil {
		t.Fatal(err)
	}
	c := job.NewClient(nc)
	defer c.Close()
	s := job.Submission{Jobs: []job.Spec{{ID: job.NewID(time.Now()), Base: "yay", Repo: "serene", Arch: arch}}}
	if _, err := c.Submit(t.Context(), s); err != nil {
		t.Error(err)
	}

	// And a builder's session.
	const key = "SHA256:b1"
	work, err := job.Connect("b1", key, func() (net.Conn, error) { return hub.DialSocketWork(w.opt.State, key, []string{arch}) })
	if err != nil {
		t.Fatal(err)
	}
	defer work.Close()
	bench, err := job.NewBench(work, key, "b1")
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{bench, w, key, job.Builder{ID: "b1", Name: "b1", Instance: "1", Arches: []string{arch}}}
	b.beat()
	b.done(b.take())
	if err := work.Publish(job.HubSubject(job.OpCancel), nil); err != nil {
		t.Fatal(err)
	}
	if err := work.Flush(); err != nil || !errors.Is(work.LastError(), nats.ErrPermissionViolation) {
		t.Errorf("asked as a verb: %v, %v", err, work.LastError())
	}
}

func TestBuilders(t *testing.T) {
	w := newWorld(t)
	w.one("yay")
	b := w.builder("b1")
	b.self.Load = 1.5
	b.beat(b.take())
	all, err := w.client.Builders(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	got := all[0]
	if got.Name != "b1" || got.Load != 1.5 || len(got.Jobs) != 1 || got.Key != b.key || time.Since(got.Seen) > time.Minute {
		t.Errorf("%+v", got)
	}
}

// TestBuilderIsRestricted tries, as a builder, what only the hub may do.
func TestBuilderIsRestricted(t *testing.T) {
	w := newWorld(t)
	id := w.one("yay")
	const key = "SHA256:evil"
	refused := make(chan error, 100)
	nc, err := job.Connect("evil", key, func() (net.Conn, error) { return w.hub.DialWork(key, []string{"aarch64"}) })
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	for name, try := range map[string]func(){
		"make a stream":             func() { js.CreateStream(short(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x"}}) },
		"delete the queue":          func() { nc.Publish("$JS.API.STREAM.DELETE."+job.Stream, nil) },
		"read the queue":            func() { nc.Publish("$JS.API.STREAM.MSG.GET."+job.Stream, []byte(`{"seq":1}`)) },
		"purge the queue":           func() { nc.Publish("$JS.API.STREAM.PURGE."+job.Stream, nil) },
		"make a consumer":           func() { nc.Publish("$JS.API.CONSUMER.CREATE."+job.Stream+".c", nil) },
		"take for another arch":     func() { nc.Publish("$JS.API.CONSUMER.MSG.NEXT."+job.Stream+"."+arch, nil) },
		"acknowledge for another":   func() { nc.Publish("$JS.ACK."+job.Stream+"."+arch+".1.1.1.1.0", nil) },
		"queue a job":               func() { nc.Publish(job.JobSubject("aarch64"), []byte(id)) },
		"ask as a verb":             func() { nc.Publish(job.HubSubject(job.OpCancel), []byte(`{"id":"`+string(id)+`"}`)) },
		"ask as another builder":    func() { nc.Publish(job.WorkSubject("SHA256:b1/key+", job.OpBeat), nil) },
		"order another builder":     func() { nc.Publish(job.TellSubject("SHA256:b1/key+", "b1"), nil) },
		"hear another's answers":    func() { nc.SubscribeSync(job.Inbox("SHA256:b1/key+") + ".>") },
		"hear what builders report": func() { nc.SubscribeSync("serene.>") },
		"hear everything":           func() { nc.SubscribeSync(">") },
	} {
		t.Run(name, func(t *testing.T) {
			try()
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("not refused")
			}
		})
	}
	w.want(id, job.Queued, "", "")
	b := w.builder("b1")
	b.done(b.take())
}

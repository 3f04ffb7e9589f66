package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"serene/internal/job"
	"serene/internal/job/hub"
)

const arch = "x86_64"

// world is a state directory with a hub at work on it.
type world struct {
	*testing.T
	opt    hub.Options
	hub    *hub.Hub
	client *job.Client
	dir    *job.Dir
}

func newWorld(t *testing.T, change ...func(*hub.Options)) *world {
	t.Helper()
	w := &world{T: t, opt: hub.Options{
		State: t.TempDir(), Arches: []string{arch, "aarch64"},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	for _, c := range change {
		c(&w.opt)
	}
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.Helper()
	var err error
	if w.hub, err = hub.Open(w.opt); err != nil {
		w.Fatal(err)
	}
	if w.client, err = w.hub.Client(); err != nil {
		w.Fatal(err)
	}
	if w.dir, err = job.OpenDir(w.opt.State); err != nil {
		w.Fatal(err)
	}
}

func (w *world) stop() {
	w.client.Close()
	if err := w.hub.Close(); err != nil {
		w.Error(err)
	}
}

// submit asks for AUR packages and returns the jobs.
func (w *world) submit(bases ...string) []job.Submitted {
	w.Helper()
	s := job.Submission{By: job.Asker{Key: "SHA256:dev", Comment: "dev@example"}}
	for _, base := range bases {
		s.Jobs = append(s.Jobs, job.Spec{
			ID: job.NewID(time.Now()), Base: base, Repo: "serene", Arch: arch, Source: job.Source{Kind: job.SourceAUR},
		})
	}
	all, err := w.client.Submit(w.Context(), s)
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// one is submit for one, whose id it returns.
func (w *world) one(base string) job.ID {
	w.Helper()
	return w.submit(base)[0].ID
}

func (w *world) read(id job.ID) *job.Record {
	w.Helper()
	r, err := w.dir.Read(id)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// want fails the test unless the job is so: state, cause and reason.
func (w *world) want(id job.ID, state job.State, cause, reason string) {
	w.Helper()
	r := w.read(id)
	if r.State != state || r.Cause != cause || r.Reason != reason {
		w.Errorf("%s: %s, %q, %q; want %s, %q, %q", r.Label(), r.State, r.Cause, r.Reason, state, cause, reason)
	}
}

func (w *world) log(id job.ID) string {
	w.Helper()
	var b bytes.Buffer
	if _, err := w.dir.CopyLog(id, &b, 0); err != nil {
		w.Fatal(err)
	}
	return b.String()
}

// eventually waits until done holds.
func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("waited in vain for %s", what)
		}
	}
}

// builder is one that does what the test says.
type builder struct {
	*job.Bench
	w    *world
	key  string
	self job.Builder
}

func (w *world) builder(name string) *builder {
	w.Helper()
	key := "SHA256:" + name + "/key+"
	nc, err := job.Connect(name, key, func() (net.Conn, error) { return w.hub.DialWork(key, nil) })
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	bench, err := job.NewBench(nc, key, name)
	if err != nil {
		w.Fatal(err)
	}
	b := &builder{bench, w, key, job.Builder{ID: name, Instance: "1", Name: name, Arches: []string{arch}, Slots: 1}}
	b.beat()
	return b
}

// beat says which jobs the builder works on, and returns those to give up.
func (b *builder) beat(tasks ...*job.Task) []job.Stop {
	b.w.Helper()
	b.self.Jobs = nil
	for _, t := range tasks {
		b.self.Jobs = append(b.self.Jobs, t.Run())
	}
	var stop []job.Stop
	b.w.eventually("an answer to the heartbeat of "+b.self.Name, func() bool {
		ctx, cancel := context.WithTimeout(b.w.Context(), 10*time.Second)
		defer cancel()
		var err error
		stop, err = b.Beat(ctx, b.self)
		return err == nil // else the connection is still to come back
	})
	return stop
}

// take waits for a job.
func (b *builder) take() *job.Task {
	b.w.Helper()
	ctx, cancel := context.WithTimeout(b.w.Context(), 30*time.Second)
	defer cancel()
	for {
		task, err := b.Take(ctx, arch)
		if err != nil {
			b.w.Fatalf("take by %s: %v", b.self.Name, err)
		}
		if task != nil {
			return task
		}
	}
}

// end ends an attempt and returns what the job is then.
func (b *builder) end(t *job.Task, r job.Report) job.State {
	b.w.Helper()
	state, err := t.End(b.w.Context(), r)
	if err != nil {
		b.w.Fatalf("end of %s: %v", t.Label(), err)
	}
	return state
}

func (b *builder) done(t *job.Task) {
	b.w.Helper()
	if state := b.end(t, job.Report{End: job.EndDone}); state != job.Done {
		b.w.Errorf("%s is %s", t.Label(), state)
	}
}

func (b *builder) needs(t *job.Task, bases ...string) job.State {
	b.w.Helper()
	var needs []job.Need
	for _, base := range bases {
		needs = append(needs, job.Need{Base: base, For: base + ">=1"})
	}
	return b.end(t, job.Report{End: job.EndParked, Needs: needs})
}

func (b *builder) print(t *job.Task, text string) {
	b.w.Helper()
	if _, err := io.WriteString(t.LogWriter(b.w.Context()), text); err != nil {
		b.w.Fatal(err)
	}
}

func lines(format string, n int) string {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

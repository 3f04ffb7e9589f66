// Package worker is a builder: it takes jobs from the hub, has the sandbox
// build them, and publishes what came out through the hub's SSH server, with
// the rights of that one job.
//
// It owns the working directory build/ of its state directory, and what an
// attempt may still do: one that the hub has given to someone else, or that
// the builder itself can no longer tell the hub about, is stopped. It decides
// nothing about a job (that is the hub's), never opens the repository's files,
// and never runs anything of a PKGBUILD (that is the sandbox's).
package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/source"
)

// Sandbox is what builds. It says by Ready why it cannot at the moment, and by
// Free how many bytes are free where containers are kept, -1 when unknown.
// *build.Sandbox does the rest.
type Sandbox interface {
	Run(ctx context.Context, r build.Recipe, log io.Writer, phase func(string)) (*build.Result, error)
	SrcInfo(ctx context.Context, r build.Recipe, log io.Writer) ([]byte, error)
	Ready(ctx context.Context) error
	DropDownloads() error
	Free() int64

	// SweepCaches removes volumes of recipes, except those in use and those that
	// keep says are to stay. made is when one was made.
	SweepCaches(ctx context.Context, keep func(volume string, made time.Time) bool) (removed int, err error)
}

// Hub is the hub's SSH server, as far as verbs go. A verb that was not done is
// a *Refusal, any other error the connection's. *Door is one.
type Hub interface {
	Run(ctx context.Context, argv []string, in io.Reader, out io.Writer) error
}

// Options say what a Worker works with. All of the first part is needed.
type Options struct {
	State   string // directory; the worker has build/ in it to itself
	Arch    string // that it builds for
	Key     string // fingerprint of its SSH key
	Hub     Hub
	Queue   func() (*nats.Conn, error) // connects to the hub's queue
	AUR     *source.AUR
	Fetcher *source.Fetcher

	// Prepare makes the sandbox. It is called again until it succeeds; jobs
	// are taken after that. id names this builder for ever.
	Prepare func(ctx context.Context, id string) (Sandbox, error)

	Name      string       // for people; default: the host's name
	Slots     int          // jobs at a time; default 1
	Network   string       // for jobs that do not say; default build.NetworkFetch
	Limits    build.Limits // of a job; without MinFree none is taken
	MinMemory int64        // bytes of memory, without which none is taken either
	LogMax    int64        // bytes kept of a job's output; default 64 MiB
	Packager  string       // PACKAGER
	CCache    bool         // keep what compilers make, for the next build of the base

	// KeepSources is how long what was downloaded for a package base, or made by
	// compilers, is kept without being used. Default 90 days.
	KeepSources time.Duration

	// Lease is how long the hub waits for a sign of life. Default 30 s.
	Lease time.Duration

	Log *slog.Logger // default: nothing is logged
}

const (
	defaultLease  = 30 * time.Second
	defaultLogMax = 64 << 20
	defaultKeep   = 90 * 24 * time.Hour
	// again is how long is waited after something did not work.
	again = time.Second
)

// Worker is a builder. Make one with Open.
type Worker struct {
	opt      Options
	dir      string // state/build
	id       string
	instance string
	lock     *os.File
	nc       *nats.Conn
	bench    *job.Bench
	started  chan struct{} // closed once the hub knows of this builder
	prepared chan struct{} // closed once there is a sandbox

	mu       sync.Mutex // guards what follows
	sandbox  Sandbox    // nil until it is prepared
	lack     lack       // why no job is taken
	attempts map[job.ID]*attempt
}

// Open makes the working directory what it has to be: nothing of an earlier
// run is left but caches and packages that were kept.
func Open(o Options) (*Worker, error) {
	w := &Worker{
		opt: o.withDefaults(), dir: filepath.Join(o.State, "build"), instance: rand.Text(),
		started: make(chan struct{}), prepared: make(chan struct{}),
		lack: lack{job.LacksEngine, "it is starting"}, attempts: make(map[job.ID]*attempt),
	}
	if err := w.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open builder: %w", err), w.close())
	}
	return w, nil
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name, _ = os.Hostname() // "" where the host has none
	}
	o.Slots = max(o.Slots, 1)
	if o.Network == "" {
		o.Network = build.NetworkFetch
	}
	if o.LogMax <= 0 {
		o.LogMax = defaultLogMax
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.KeepSources <= 0 {
		o.KeepSources = defaultKeep
	}
	if o.Packager == "" {
		o.Packager = "serene on " + o.Name + " <serene@" + o.Name + ">"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (w *Worker) open() (err error) {
	for _, dir := range []string{w.dir, w.path("jobs"), w.path("kept"), w.path("packages"), w.path("caches")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if w.lock, err = lockFile(w.path("lock")); err != nil {
		return err
	}
	if err := w.clean(time.Now()); err != nil {
		return err
	}
	if w.id, err = identity(w.path("id")); err != nil {
		return err
	}
	if w.nc, err = w.opt.Queue(); err != nil {
		return err
	}
	w.bench, err = job.NewBench(w.nc, w.opt.Key, w.id)
	return err
}

func (w *Worker) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *Worker) close() error {
	if w.nc != nil {
		w.nc.Close()
	}
	if w.lock != nil {
		return w.lock.Close()
	}
	return nil
}

var (
	errShutdown = errors.New("the builder stops")
	errSilence  = errors.New("the hub does not answer")
)

// Run takes jobs until ctx ends, hands back those it has then, and returns.
func (w *Worker) Run(ctx context.Context) error {
	defer w.close()
	stop, err := w.bench.Orders(w.obey)
	if err != nil {
		return fmt.Errorf("listen to the hub: %w", err)
	}
	defer stop()
	var all sync.WaitGroup
	beating, silent := context.WithCancel(context.WithoutCancel(ctx))
	var heart sync.WaitGroup
	heart.Go(func() { w.beats(beating) })
	all.Go(func() { w.prepare(ctx) })
	all.Go(func() { w.prunes(ctx) })
	for range w.opt.Slots {
		all.Go(func() { w.takeJobs(ctx) })
	}
	<-ctx.Done()
	w.stopAll(errShutdown)
	all.Wait()
	w.waitAll()
	silent()
	heart.Wait()
	return nil
}

// prepare makes the sandbox, however often it takes.
func (w *Worker) prepare(ctx context.Context) {
	for wait := again; ; wait = min(2*wait, time.Minute) {
		s, err := w.opt.Prepare(ctx, w.id)
		if err == nil {
			w.opt.Log.Info("ready to build", "builder", w.id, "arch", w.opt.Arch)
			w.mu.Lock()
			w.sandbox, w.lack = s, lack{}
			w.mu.Unlock()
			close(w.prepared)
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.opt.Log.Error("cannot build yet", "err", err)
		w.setLack(lack{job.LacksEngine, oneLine(err.Error())})
		if !sleep(ctx, wait) {
			return
		}
	}
}

// box is the sandbox. It is there before any job is taken.
func (w *Worker) box() Sandbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sandbox
}

func (w *Worker) setLack(l lack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lack = l
}

// takeJobs is one slot.
func (w *Worker) takeJobs(ctx context.Context) {
	for _, first := range []chan struct{}{w.started, w.prepared} {
		select {
		case <-first:
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		if !w.able(ctx) {
			sleep(ctx, again)
			continue
		}
		task, err := w.bench.Take(ctx, w.opt.Arch)
		switch {
		case task != nil:
			w.work(ctx, task)
		case err != nil && ctx.Err() == nil:
			w.opt.Log.Warn("no job", "err", err)
			sleep(ctx, again)
		}
	}
}

// work sees one attempt through, and keeps a panic from ending the others.
func (w *Worker) work(ctx context.Context, task *job.Task) {
	a := w.begin(ctx, task)
	defer w.done(a)
	a.run()
}

// begin makes an attempt that others can stop.
func (w *Worker) begin(ctx context.Context, task *job.Task) *attempt {
	a := newAttempt(w, task)
	w.mu.Lock()
	w.attempts[task.ID] = a
	w.mu.Unlock()
	if ctx.Err() != nil { // it came while the others were being stopped
		a.stop(errShutdown)
	}
	return a
}

func (w *Worker) done(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.attempts, a.task.ID)
	close(a.ended)
}

func (w *Worker) running() []*attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*attempt
	for _, a := range w.attempts {
		all = append(all, a)
	}
	return all
}

func (w *Worker) stopAll(why error) {
	for _, a := range w.running() {
		a.stop(why)
	}
}

func (w *Worker) waitAll() {
	for _, a := range w.running() {
		<-a.ended
	}
}

// obey does what the hub asks. It must not ask the hub anything itself.
func (w *Worker) obey(o job.Order) error {
	switch {
	case o.Stop != nil:
		w.give(*o.Stop)
	case o.Publish != nil:
		return w.publishKept(o.Publish)
	}
	return nil
}

// give gives up an attempt.
func (w *Worker) give(s job.Stop) {
	for _, a := range w.running() {
		if a.task.Run() == s.Run {
			a.stop(&stopped{s.Why})
		}
	}
}

// stopped is why an attempt ends that the hub does not want any more.
type stopped struct{ why string }

func (s *stopped) Error() string { return s.why }

// sleep waits, and reports whether ctx is still there.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

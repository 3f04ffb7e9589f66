// Package hub is the side of the job queue that decides. It runs inside
// serene-receive, one for a state directory, and owns the records and logs of
// builds/: nobody else writes them.
//
// It embeds a NATS server with JetStream, or uses an external cluster; the
// code above the connection is the same. JetStream hands out jobs. What a job
// is, and whether what a builder says of it counts, the hub knows from its
// records, which are on disk before a request is answered. So it can be killed
// at any moment, the queue's store may even be lost: what is not over is put
// into the queue again at start.
//
// It never builds, and never publishes a package.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"serene/internal/job"
)

// Options say where a Hub works. State is needed.
type Options struct {
	State    string
	URL      string   // external NATS; "" for the embedded server
	Replicas int      // that a cluster keeps of the queue; default 1
	Arches   []string // that jobs can be for
	LogMax   int64    // bytes of output taken of one attempt; default 64 MiB

	// Allow says why someone may not have base built for a repository, or nil.
	// It is asked about pkgbases that nobody named: those that a job turns out
	// to build, or to need. Default: all may.
	Allow func(by job.Asker, repo, arch, base string) error

	// Keep is how long a job stays that is over. Default 90 days.
	Keep time.Duration

	// Lease is how long a builder may be silent before its jobs are taken up
	// elsewhere. Default 30 s. Builders give up their jobs a little earlier.
	Lease time.Duration

	Log *slog.Logger // default: nothing is logged
}

const (
	defaultLease  = 30 * time.Second
	defaultLogMax = 64 << 20
	defaultKeep   = 90 * 24 * time.Hour

	// logSlack is what a builder may print beyond LogMax: headings, and what
	// it says itself.
	logSlack = 1 << 20

	// requestTimeout bounds what the hub itself asks of NATS.
	requestTimeout = 10 * time.Second
)

// Hub is the deciding side. Make one with Open.
type Hub struct {
	opt    Options
	dir    *job.Dir
	lock   *os.File  // held, so that there is one hub
	server *embedded // nil with an external cluster
	socket *socket   // likewise
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	cancel context.CancelFunc // ends tick and prune
	ticks  sync.WaitGroup

	mu       sync.Mutex              // guards what follows; every request is served under it
	jobs     map[job.ID]*job.Record  // of every group that is not over; records are replaced, not changed
	builders map[string]*job.Builder // by key and id
	short    map[string]shortage     // by architecture; none where jobs are taken
}

// Open starts a hub: it takes up the records, and what is not over is in the
// queue afterwards.
func Open(o Options) (*Hub, error) {
	h := &Hub{
		opt: o.withDefaults(), jobs: make(map[job.ID]*job.Record),
		builders: make(map[string]*job.Builder), short: make(map[string]shortage),
	}
	if err := h.open(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (o Options) withDefaults() Options {
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.LogMax <= 0 {
		o.LogMax = defaultLogMax
	}
	if o.Replicas <= 0 {
		o.Replicas = 1
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.Allow == nil {
		o.Allow = func(job.Asker, string, string, string) error { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (h *Hub) open() (err error) {
	if h.dir, err = job.OpenHubDir(h.opt.State); err != nil {
		return err
	}
	if h.lock, err = lock(filepath.Join(h.opt.State, "builds", ".lock")); err != nil {
		return err
	}
	if err := h.connect(); err != nil {
		return err
	}
	if err := h.openQueue(); err != nil {
		return fmt.Errorf("open the job queue: %w", err)
	}
	if err := h.takeUp(); err != nil {
		return err
	}
	if err := h.listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.ticks.Go(func() { h.tick(ctx) })
	h.ticks.Go(func() { h.prune(ctx) })
	return nil
}

// lock makes this the only hub of its directory, until the file is closed.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another serene-receive has the jobs of this state directory: %w", err), f.Close())
	}
	return f, nil
}

func (h *Hub) connect() (err error) {
	if h.opt.URL != "" {
		h.nc, err = job.ConnectURL("serene-receive", "", h.opt.URL)
	} else {
		if h.server, err = embed(storeDir(h.opt.State), h.opt.Log); err != nil {
			return err
		}
		h.nc, err = job.Connect("serene-receive", "", h.Dial)
	}
	if err != nil {
		return fmt.Errorf("connect to the job queue: %w", err)
	}
	h.js, err = jetstream.New(h.nc)
	return err
}

// listen begins to answer.
func (h *Hub) listen() (err error) {
	for subject, answer := range map[string]func(key, op string, data []byte) (any, error){
		job.AllHub:  h.answerVerb,
		job.AllWork: h.answerBuilder,
	} {
		_, err := h.nc.Subscribe(subject, func(m *nats.Msg) {
			key, op := job.ParseSubject(m.Subject)
			body, err := answer(key, op, m.Data)
			h.logTrouble(op, err)
			_ = job.Answer(m, body, err) // who does not get it asks again
		})
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := h.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	if h.server != nil {
		h.socket, err = listen(h.opt.State, h.server)
	}
	return err
}

// logTrouble logs what is not the asker's fault.
func (h *Hub) logTrouble(op string, err error) {
	var e *job.Error
	if err != nil && !errors.As(err, &e) {
		h.opt.Log.Error("job queue", "op", op, "err", err)
	}
}

// Dir is where the jobs are. In this process it is the one to follow them by.
func (h *Hub) Dir() *job.Dir { return h.dir }

// Embedded reports whether the queue is inside this process.
func (h *Hub) Embedded() bool { return h.server != nil }

// Dial makes a connection for the verbs of this process. It is a job.Dial.
func (h *Hub) Dial() (net.Conn, error) { return h.server.dial(hubUser()) }

// DialWork makes a connection for a builder in this process.
func (h *Hub) DialWork(key string, arches []string) (net.Conn, error) {
	return h.server.dial(builderUser(key, arches))
}

// Attach joins the streams of a builder's session to the queue, until they or
// ctx end. key is the fingerprint it has logged in with, arches those it may
// build for, nil for all.
func (h *Hub) Attach(ctx context.Context, r io.Reader, w io.Writer, key string, arches []string) error {
	if err := job.CheckKey(key); err != nil {
		return err
	}
	return h.server.attach(ctx, r, w, builderUser(key, arches))
}

// Client returns a client for the verbs of this process.
func (h *Hub) Client() (*job.Client, error) {
	if h.server == nil {
		nc, err := job.ConnectURL("serene-receive verbs", "", h.opt.URL)
		return job.NewClient(nc), err
	}
	nc, err := job.Connect("serene-receive verbs", "", h.Dial)
	return job.NewClient(nc), err
}

// Close stops the hub. Jobs that run go on without it for a while.
func (h *Hub) Close() error {
	var failed []error
	if h.cancel != nil {
		h.cancel()
	}
	h.ticks.Wait()
	if h.socket != nil {
		failed = append(failed, h.socket.close())
	}
	if h.nc != nil {
		h.nc.Close()
	}
	if h.server != nil {
		h.server.close()
	}
	if h.lock != nil {
		failed = append(failed, h.lock.Close())
	}
	return errors.Join(failed...)
}

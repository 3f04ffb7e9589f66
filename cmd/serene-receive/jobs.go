package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"serene/internal/config"
	"serene/internal/job"
	"serene/internal/job/hub"
	"serene/internal/receive"
	"serene/sshd"
)

// queue is the job queue, whose hub is in this process.
type queue struct {
	hub    *hub.Hub
	client *job.Client // of the verbs

	// Builders stay connected until nothing else is left to drain.
	stopping context.Context
	stop     context.CancelFunc
	verbs    atomic.Int64 // sessions that are not builders'
}

// openQueue starts the hub.
func openQueue(c *config.Config, log *slog.Logger) (*queue, error) {
	var arches []string
	for _, r := range c.Repos {
		arches = append(arches, config.Strings(r.Arches)...)
	}
	slices.Sort(arches)
	h, err := hub.Open(hub.Options{
		State:    string(c.State),
		URL:      string(c.Queue.URL),
		Arches:   slices.Compact(arches),
		LogMax:   int64(c.Build.LogMax),
		Keep:     c.Build.KeepBuilds.Std(),
		Replicas: int(c.Queue.Replicas),
		Allow:    receive.AllowBuild,
		Log:      log,
	})
	if err != nil {
		return nil, err
	}
	q := &queue{hub: h}
	q.stopping, q.stop = context.WithCancel(context.Background())
	if q.client, err = h.Client(); err != nil {
		h.Close()
		return nil, err
	}
	return q, nil
}

func (q *queue) close() error {
	q.stop()
	q.client.Close()
	return q.hub.Close()
}

// verbsClient is what the verbs of this process ask.
func (q *queue) verbsClient() (*job.Client, error) { return q.client, nil }

// subsystems are what sessions can ask for beside commands.
func (d *door) subsystems() map[string]sshd.Handler {
	all := map[string]sshd.Handler{"sftp": d.counted(d.sftp)}
	if d.queue.hub.Embedded() {
		all["nats"] = d.nats
	}
	return all
}

// counted counts the sessions that have to be drained.
func (d *door) counted(h sshd.Handler) sshd.Handler {
	return func(ctx context.Context, s *sshd.Session) int {
		d.queue.verbs.Add(1)
		defer d.queue.verbs.Add(-1)
		return h(ctx, s)
	}
}

// nats joins a builder to the queue.
func (d *door) nats(ctx context.Context, s *sshd.Session) int {
	by := d.caller(s)
	arches, ok := by.Rights.MayWork()
	if !ok {
		return turnAway(s.Stdout, mayNotWork, exitDenied)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.queue.stopping, cancel)()
	if err := d.queue.hub.Attach(ctx, s.Stdin, s.Stdout, by.Key, arches); err != nil && ctx.Err() == nil {
		d.log.Warn("builder's session", "key", by.Key, "remote", by.Remote, "err", err)
		return exitBusy
	}
	return 0
}

// drain waits until no session is left but builders', or ctx ends, and lets
// those go: they come back to whoever serves next.
func (q *queue) drain(ctx context.Context) {
	defer q.stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for q.verbs.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// otherQueue returns the client of a process that is not the hub's own.
func otherQueue(c *config.Config) func() (*job.Client, error) {
	return func() (*job.Client, error) {
		if url := string(c.Queue.URL); url != "" {
			nc, err := job.ConnectURL("serene-receive verb", "", url)
			return job.NewClient(nc), err
		}
		// One connection tried here says why there is none; NATS would only go
		// on trying.
		conn, err := hub.DialSocket(string(c.State))
		if err != nil {
			return nil, err
		}
		conn.Close()
		nc, err := job.Connect("serene-receive verb", "", func() (net.Conn, error) { return hub.DialSocket(string(c.State)) })
		return job.NewClient(nc), err
	}
}

// mayNotWork is what a builder is told whose key is not one's.
const mayNotWork = "this key may not take jobs: its line in authorized_keys does not allow work"

// turnAway tells a builder why it is not let in. What it cannot be told, it
// asks for again.
func turnAway(w io.Writer, reason string, code int) int {
	_ = job.TurnAway(w, reason)
	return code
}

// natsCommand is what sshd_config has to name for the subsystem that builders
// ask for: "Subsystem nats nats".
const natsCommand = "nats"

// forcedWork is nats behind OpenSSH.
func forcedWork(ctx context.Context, c *config.Config, by receive.Caller) int {
	arches, ok := by.Rights.MayWork()
	if !ok {
		return turnAway(os.Stdout, mayNotWork, exitDenied)
	}
	if by.Key == unknownKey {
		// Its jobs could not be told from those of another.
		return turnAway(os.Stdout, "which key a builder has is not known: sshd_config needs ExposeAuthInfo yes", exitDenied)
	}
	conn, err := hub.DialSocketWork(string(c.State), by.Key, arches)
	if err != nil {
		return turnAway(os.Stdout, err.Error(), exitBusy)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite() // the hub then ends the other direction
	}()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

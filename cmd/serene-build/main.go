// Command serene-build is a builder: it takes jobs from a hub, builds them in
// containers, and publishes what came out through the hub's SSH server.
//
//	serene-build [--config FILE] [--state DIR] [--version]
//
// It needs the address of the hub ([build] hub), a key that the hub knows, and
// a Docker engine. On the hub's own machine the key is there already.
package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"serene/internal/build"
	"serene/internal/build/worker"
	"serene/internal/config"
	"serene/internal/daemon"
	"serene/internal/job"
	"serene/internal/source"
)

func main() { daemon.Main("serene-build", run) }

func run(ctx context.Context, p *daemon.Process) error {
	c := p.Config
	door, err := worker.OpenDoor(c.Build.Hub.String(), string(c.Build.Identity), string(c.Build.KnownHosts), p.Log)
	if err != nil {
		return fmt.Errorf("%w (serene-receive makes it where it serves this state directory)", err)
	}
	defer door.Close()
	w, err := worker.Open(options(ctx, p, door))
	if err != nil {
		return err
	}
	go ignoreReloads(ctx, p)
	p.Ready()
	return w.Run(ctx)
}

func options(ctx context.Context, p *daemon.Process, door *worker.Door) worker.Options {
	c := p.Config
	plain := source.Allow{HTTP: config.Strings(c.Build.GitHTTP)}
	return worker.Options{
		State: string(c.State),
		Arch:  string(config.HostArch()),
		Key:   door.Key(),
		Hub:   door,
		Queue: func() (*nats.Conn, error) { return connect(c, door) },
		AUR:   &source.AUR{URL: c.AUR.URL.String(), Allow: plain},
		Fetcher: &source.Fetcher{
			Cache: filepath.Join(string(c.State), "sources"),
			Allow: plain,
			SSH:   source.SSH{Identity: string(c.Build.Identity), KnownHosts: string(c.Build.KnownHosts)},
		},
		Prepare: worker.Docker{
			Host: c.Build.Docker.String(), Image: string(c.Build.Image), Refresh: c.Build.ImageRefresh.Std(),
			Cache: filepath.Join(string(c.State), "build", "upstream"), CacheMax: int64(c.Build.PackageCache),
			MinFree: int64(c.Build.MinFree), Log: p.Log,
		}.Prepare(ctx),
		Slots:       int(c.Build.Jobs),
		Network:     string(c.Build.Network),
		Limits:      limits(c),
		MinMemory:   int64(c.Build.MinMemory),
		LogMax:      int64(c.Build.LogMax),
		CCache:      c.Build.CCache,
		KeepSources: c.Build.KeepSources.Std(),
		Log:         p.Log,
	}
}

func limits(c *config.Config) build.Limits {
	l := build.DefaultLimits()
	l.Memory, l.CPUs, l.Pids = int64(c.Build.Memory), float64(c.Build.CPUs), int64(c.Build.Pids)
	l.Disk, l.MinFree = int64(c.Build.Disk), int64(c.Build.MinFree)
	l.Timeout, l.Silence = c.Build.Timeout.Std(), c.Build.Silence.Std()
	l.Package = int64(c.Receive.MaxPackage)
	return l
}

// connect goes to the queue: through the hub's door, or to the cluster outside.
func connect(c *config.Config, door *worker.Door) (*nats.Conn, error) {
	if url := string(c.Queue.URL); url != "" {
		return job.ConnectURL("serene-build", door.Key(), url)
	}
	return job.Connect("serene-build", door.Key(), door.DialQueue)
}

// ignoreReloads says what a SIGHUP does not do.
func ignoreReloads(ctx context.Context, p *daemon.Process) {
	for {
		select {
		case <-p.Reloads():
			p.Log.Warn("settings of a builder are read at start only")
		case <-ctx.Done():
			return
		}
	}
}

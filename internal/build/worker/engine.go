package worker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"serene/internal/build"
)

// refreshAgain is when it is looked again whether the image is old, after one was
// made, or could not be.
const refreshAgain = time.Hour

// Docker says with what a Docker engine is used.
type Docker struct {
	Host  string // as DOCKER_HOST words it; "" means that, or else the local socket
	Image string // "" for the one that the program makes itself

	// Refresh is how old an image gets that the program makes.
	Refresh time.Duration

	// Cache is a directory for what pacman downloads, of at most CacheMax bytes,
	// 0 for none. None is kept where less than MinFree would be left.
	Cache             string
	CacheMax, MinFree int64

	Log *slog.Logger
}

// Prepare is an Options.Prepare. What an earlier run has left in the engine is
// removed first. life ends the making of images.
func (o Docker) Prepare(life context.Context) func(context.Context, string) (Sandbox, error) {
	return func(try context.Context, id string) (Sandbox, error) {
		d, err := build.NewDocker(try, o.Host, id)
		if err != nil {
			return nil, err
		}
		e, err := o.open(try, life, d)
		if err != nil {
			d.Close()
			return nil, err
		}
		return e, nil
	}
}

func (o Docker) open(try, life context.Context, d *build.Docker) (*engine, error) {
	n, err := d.Sweep(try, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	if n > 0 {
		o.Log.Info("removed what an earlier run has left in the engine", "containers", n)
	}
	image, own := o.Image, (*build.ImageBuilder)(nil)
	if image == "" {
		own = &build.ImageBuilder{Engine: d, Images: d, Pull: true, Log: o.Log}
		if _, err := own.Ensure(try, &progress{log: o.Log}); err != nil {
			return nil, err
		}
		image = own.Ref()
	}
	e := &engine{build.NewSandbox(d, d, image, o.Log), d, image}
	if err := o.share(e); err != nil {
		return nil, err
	}
	if own != nil {
		go o.refresh(life, own)
	}
	return e, nil
}

// share gives the sandbox its cache. An engine on another machine could not
// mount it.
func (o Docker) share(e *engine) error {
	if o.CacheMax == 0 {
		return os.RemoveAll(o.Cache)
	}
	if !e.docker.Local() {
		o.Log.Info("the engine is on another machine: what pacman downloads is not kept")
		return nil
	}
	c, err := build.OpenPacmanCache(o.Cache, o.CacheMax, o.MinFree)
	if err != nil {
		return err
	}
	e.Share(c)
	return nil
}

// engine is a Sandbox that can be asked whether it is there.
type engine struct {
	*build.Sandbox
	docker *build.Docker
	image  string
}

// Ready implements Sandbox.
func (e *engine) Ready(ctx context.Context) error {
	_, err := e.docker.Digest(ctx, e.image)
	return err
}

// Free implements Sandbox.
func (e *engine) Free() int64 { return e.docker.Free() }

// SweepCaches implements Sandbox.
func (e *engine) SweepCaches(ctx context.Context, keep func(string, time.Time) bool) (int, error) {
	return e.docker.SweepCaches(ctx, keep)
}

// imageMaker makes the image in use, and makes it anew. *build.ImageBuilder is one.
type imageMaker interface {
	Made(ctx context.Context) (time.Time, error)
	Refresh(ctx context.Context, log io.Writer) (digest string, err error)
}

// refresh makes the image anew when it has become old, however often the builder
// is started meanwhile. One that is not proven to build changes nothing.
func (o Docker) refresh(ctx context.Context, m imageMaker) {
	for wait := time.Duration(0); sleep(ctx, wait); {
		wait = refreshAgain
		made, err := m.Made(ctx)
		if left := o.Refresh - time.Since(made); err == nil && left > 0 {
			wait = left
			continue
		}
		digest, err := m.Refresh(ctx, &progress{log: o.Log})
		switch {
		case err == nil:
			o.Log.Info("the image is refreshed", "image", digest)
		case ctx.Err() == nil:
			o.Log.Error("the image is not refreshed", "err", err)
		}
	}
}

// progress logs what the making of an image prints, a line at a time.
type progress struct {
	log  *slog.Logger
	line []byte
}

func (p *progress) Write(b []byte) (int, error) {
	const most = 1000
	for part := range bytes.Lines(b) {
		p.line = append(p.line, part[:min(len(part), max(most-len(p.line), 0))]...)
		if part[len(part)-1] == '\n' {
			p.log.Debug("image", "line", string(bytes.TrimSpace(p.line)))
			p.line = p.line[:0]
		}
	}
	return len(b), nil
}

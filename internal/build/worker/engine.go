package worker

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"serene/internal/build"
)

// refreshImage is how often the image that packages are built in is made anew.
const refreshImage = 24 * time.Hour

// Docker returns an Options.Prepare for the engine at host, as DOCKER_HOST
// words it, and an image, "" for the one that the program makes itself. What an
// earlier run has left in the engine is removed first. ctx ends the making of
// images.
func Docker(ctx context.Context, host, image string, log *slog.Logger) func(context.Context, string) (Sandbox, error) {
	return func(try context.Context, id string) (Sandbox, error) {
		d, err := build.NewDocker(try, host, id)
		if err != nil {
			return nil, err
		}
		n, err := d.Sweep(try, func(string) bool { return false })
		if err != nil {
			d.Close()
			return nil, err
		}
		if n > 0 {
			log.Info("removed what an earlier run has left in the engine", "containers", n)
		}
		if image == "" {
			b := &build.ImageBuilder{Engine: d, Images: d, Pull: true, Log: log}
			if _, err := b.Ensure(try, &progress{log: log}); err != nil {
				d.Close()
				return nil, err
			}
			go refresh(ctx, b, log)
			image = b.Ref()
		}
		return &engine{build.NewSandbox(d, d, image, log), d, image}, nil
	}
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

// refresh makes the image anew from time to time. One that is not proven to
// build changes nothing.
func refresh(ctx context.Context, b *build.ImageBuilder, log *slog.Logger) {
	for sleep(ctx, refreshImage) {
		digest, err := b.Refresh(ctx, &progress{log: log})
		if err != nil && ctx.Err() == nil {
			log.Error("the image is not refreshed", "err", err)
		} else {
			log.Info("the image is refreshed", "image", digest)
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

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"serene/internal/build"
	"serene/internal/build/buildtest"
	"serene/internal/dev/unit"
	"serene/internal/source/aurtest"
)

// workshop is a site that builds, with a builder, and an AUR to build from.
type workshop struct {
	*site
	dir     string // of what the site does not have
	docker  string // the engine, as DOCKER_HOST words it
	aur     *aurtest.Server
	engine  *buildtest.Private // nil unless this run has started it
	builder *unit.Unit
}

func newWorkshop(ctx context.Context, bin string) (w *workshop, err error) {
	w = &workshop{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	// The first time on a machine, the image is made.
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	if w.dir, err = os.MkdirTemp("", "serene-workshop"); err != nil {
		return nil, err
	}
	if err := w.startAUR(); err != nil {
		return nil, err
	}
	if err := w.findEngine(ctx); err != nil {
		return nil, err
	}
	more := fmt.Sprintf("docker = %q\nimage = %q\n[aur]\nurl = %q\n", w.docker, buildtest.Image, w.aur.URL)
	if w.site, err = newSite(ctx, bin, more); err != nil {
		return nil, err
	}
	w.builder, err = w.start(ctx, "serene-build")
	return w, err
}

func (w *workshop) startAUR() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	dir := filepath.Join(w.dir, "aur")
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.Close()
		return err
	}
	w.aur, err = aurtest.Serve(dir, l)
	return err
}

// findEngine takes the engine that is there, or starts one that ends with this
// run.
func (w *workshop) findEngine(ctx context.Context) (err error) {
	if w.docker, err = buildtest.Find(ctx); err != nil {
		return err
	}
	if w.docker != "" {
		return buildtest.EnsureImage(ctx, w.docker)
	}
	w.engine = buildtest.NewPrivate(filepath.Join(w.dir, "docker"))
	w.docker = w.engine.Host
	return w.engine.Start(ctx)
}

// close ends everything; it may be called on a workshop that was only begun.
func (w *workshop) close() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if w.builder != nil {
		err = errors.Join(w.builder.Stop(ctx), w.sweep(ctx))
	}
	if w.engine != nil {
		err = errors.Join(err, w.engine.Close(ctx))
	}
	if w.site != nil {
		w.site.close()
	}
	if w.aur != nil {
		err = errors.Join(err, w.aur.Close())
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// sweep removes what the builder would have kept in the engine for its next
// build of the package.
func (w *workshop) sweep(ctx context.Context) error {
	id, err := os.ReadFile(filepath.Join(w.site.dir, "build", "id"))
	if err != nil {
		return err
	}
	d, err := build.NewDocker(ctx, w.docker, strings.TrimSpace(string(id)))
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.SweepCaches(ctx, func(string, time.Time) bool { return false })
	return err
}

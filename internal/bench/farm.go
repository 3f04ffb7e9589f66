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

// farm is a site that builds, with a builder, and an AUR to build from.
type farm struct {
	*site
	dir     string // of what the site does not have
	docker  string // the engine, as DOCKER_HOST words it
	aur     *aurtest.Server
	engine  *buildtest.Private // nil unless this run has started it
	builder *unit.Unit
}

func newFarm(ctx context.Context, bin string) (f *farm, err error) {
	f = &farm{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	// The first time on a machine, the image is made.
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	if f.dir, err = os.MkdirTemp("", "serene-farm"); err != nil {
		return nil, err
	}
	if err := f.startAUR(); err != nil {
		return nil, err
	}
	if err := f.findEngine(ctx); err != nil {
		return nil, err
	}
	more := fmt.Sprintf("docker = %q\nimage = %q\n[aur]\nurl = %q\n", f.docker, buildtest.Image, f.aur.URL)
	if f.site, err = newSite(ctx, bin, more); err != nil {
		return nil, err
	}
	f.builder, err = f.start(ctx, "serene-build")
	return f, err
}

func (f *farm) startAUR() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	dir := filepath.Join(f.dir, "aur")
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.Close()
		return err
	}
	f.aur, err = aurtest.Serve(dir, l)
	return err
}

// findEngine takes the engine that is there, or starts one that ends with this
// run.
func (f *farm) findEngine(ctx context.Context) (err error) {
	if f.docker, err = buildtest.Find(ctx); err != nil {
		return err
	}
	if f.docker != "" {
		return buildtest.EnsureImage(ctx, f.docker)
	}
	f.engine = buildtest.NewPrivate(filepath.Join(f.dir, "docker"))
	f.docker = f.engine.Host
	return f.engine.Start(ctx)
}

// close ends everything; it may be called on a farm that was only begun.
func (f *farm) close() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if f.builder != nil {
		err = errors.Join(f.builder.Stop(ctx), f.sweep(ctx))
	}
	if f.engine != nil {
		err = errors.Join(err, f.engine.Close(ctx))
	}
	if f.site != nil {
		f.site.close()
	}
	if f.aur != nil {
		err = errors.Join(err, f.aur.Close())
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}

// sweep removes what the builder would have kept in the engine for its next
// build of the package.
func (f *farm) sweep(ctx context.Context) error {
	id, err := os.ReadFile(filepath.Join(f.site.dir, "build", "id"))
	if err != nil {
		return err
	}
	d, err := build.NewDocker(ctx, f.docker, strings.TrimSpace(string(id)))
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.SweepCaches(ctx, func(string, time.Time) bool { return false })
	return err
}

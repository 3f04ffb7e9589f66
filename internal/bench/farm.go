package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"serene/internal/build/buildtest"
	"serene/internal/dev/unit"
	"serene/internal/source/aurtest"
)

// farm is a site that builds, with a builder, and an AUR to build from.
type farm struct {
	*site
	dir     string // of what the site does not have
	aur     *aurtest.Server
	engine  *buildtest.Private // nil unless this run has started it
	builder *unit.Unit
}

func newFarm(ctx context.Context, bin string) (f *farm, err error) {
	f = &farm{}
	defer func() {
		if err != nil {
			f.close()
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
	docker, err := f.findEngine(ctx)
	if err != nil {
		return nil, err
	}
	more := fmt.Sprintf("docker = %q\nimage = %q\n[aur]\nurl = %q\n", docker, buildtest.Image, f.aur.URL)
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
func (f *farm) findEngine(ctx context.Context) (host string, err error) {
	if host, err = buildtest.Find(ctx); err != nil {
		return "", err
	}
	if host != "" {
		return host, buildtest.EnsureImage(ctx, host)
	}
	f.engine = buildtest.NewPrivate(filepath.Join(f.dir, "docker"))
	return f.engine.Host, f.engine.Start(ctx)
}

// close ends everything; it may be called on a farm that was only begun.
func (f *farm) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if f.builder != nil {
		f.builder.Stop(ctx)
	}
	if f.engine != nil {
		f.engine.Close(ctx)
	}
	if f.site != nil {
		f.site.close()
	}
	if f.aur != nil {
		f.aur.Close()
	}
	os.RemoveAll(f.dir)
}

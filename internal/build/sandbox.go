package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Sandbox runs recipes, as many at a time as it is asked to.
type Sandbox struct {
	engine Engine
	images Images
	image  string
	log    *slog.Logger
	cache  *PacmanCache // nil for none

	mu     sync.Mutex
	owners map[string]owner // by digest: who the user "build" is in that image
}

// NewSandbox runs recipes in containers of the image that the reference names
// at that moment. log hears of what could not be cleaned up.
func NewSandbox(engine Engine, images Images, image string, log *slog.Logger) *Sandbox {
	return &Sandbox{engine: engine, images: images, image: image, log: log, owners: make(map[string]owner)}
}

// Share has containers use what others have downloaded from the distribution's
// mirrors, and keeps what they download. The engine must be able to mount c's
// directory. It is to be called before the first Run.
func (s *Sandbox) Share(c *PacmanCache) { s.cache = c }

// DropDownloads empties the cache that runs share, to give back its room. A run
// that was about to use it downloads again.
func (s *Sandbox) DropDownloads() error {
	if s.cache == nil {
		return nil
	}
	return s.cache.empty()
}

// Run makes the packages of one recipe. What happens is printed to log, whose
// errors end the run; phase, which may be nil, hears of each phase as it begins.
//
// An error that is a *Failure is the package's own; one of a ctx that has ended
// is ctx's cause; any other is trouble of the host. Whatever the end, nothing
// of the container is left.
func (s *Sandbox) Run(ctx context.Context, r Recipe, log io.Writer, phase func(string)) (*Result, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := r.faults(); err != nil {
		return nil, err
	}
	if r.Limits.Timeout > 0 {
		var stop context.CancelFunc
		late := &Failure{CauseTimeout, fmt.Sprintf("not done after %s", r.Limits.Timeout)}
		ctx, stop = context.WithTimeoutCause(ctx, r.Limits.Timeout, late)
		defer stop()
	}
	b := &run{sandbox: s, Recipe: &r, out: newOutput(log), phase: phase}
	if r.Network != NetworkNone && len(r.Depends) > 0 {
		b.cache = s.cache
	}
	var result *Result
	err := b.inContainer(ctx, r.Network != NetworkNone && (r.Network == NetworkOpen || r.fetches()), func(ctx context.Context) error {
		var err error
		result, err = b.all(ctx)
		return err
	})
	return result, err
}

// SrcInfo makes the .SRCINFO of a recipe's tree, in a container without a
// network. Of the recipe it needs Job, Base, Tree and Limits. The text comes from
// the PKGBUILD: it is to be parsed with care.
func (s *Sandbox) SrcInfo(ctx context.Context, r Recipe, log io.Writer) ([]byte, error) {
	b := &run{sandbox: s, Recipe: &r, out: newOutput(log)}
	var text []byte
	err := b.inContainer(ctx, false, func(ctx context.Context) error {
		var err error
		text, err = b.srcInfo(ctx)
		return err
	})
	return text, err
}

// run is one recipe on its way.
type run struct {
	*Recipe
	sandbox *Sandbox
	out     *output
	phase   func(string)
	cache   *PacmanCache // nil for none

	c     Container
	image string
	who   owner
}

// inContainer does the work in a new container, under guard, and removes it.
func (b *run) inContainer(ctx context.Context, network bool, work func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if err := b.open(ctx, network); err != nil {
		return because(ctx, err)
	}
	defer b.close(ctx)
	g := &guard{engine: b.sandbox.engine, c: b.c, limits: b.Limits, out: b.out}
	var watching sync.WaitGroup
	watching.Go(func() { g.watch(ctx, end) })
	err := because(ctx, work(ctx))
	end(nil)
	watching.Wait()
	return err
}

// because prefers the reason why ctx has ended to the errors that it led to.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// open makes the container and puts into it what it is to work on.
func (b *run) open(ctx context.Context, network bool) error {
	if err := b.enter("prepare", "container serene-%s", b.Job); err != nil {
		return err
	}
	var err error
	if b.image, err = b.sandbox.images.Digest(ctx, b.sandbox.image); err != nil {
		return err
	}
	b.c, err = b.sandbox.engine.Create(ctx, Spec{
		Job: b.Job, Base: b.Base, Image: b.image, Network: network, Limits: b.Limits, Mounts: b.mounts(),
	})
	if err != nil {
		return err
	}
	if err := b.furnish(ctx); err != nil {
		b.close(ctx)
		return err
	}
	return nil
}

func (b *run) mounts() []Mount {
	var all []Mount
	add := func(source, target string, readOnly bool) {
		if source != "" {
			all = append(all, Mount{source, target, readOnly})
		}
	}
	add(b.SourceCache, srcDest, false)
	add(b.CompilerCache, ccache, false)
	add(b.LocalRepo, repoDir, true)
	if b.cache != nil {
		add(b.cache.dir, cacheDir, true)
	}
	return all
}

func (b *run) furnish(ctx context.Context) error {
	var err error
	if b.who, err = b.sandbox.owner(ctx, b.image, b.c); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(furnish(w, b.Recipe, b.who, b.c.Network != "")) }()
	err = b.sandbox.engine.Put(ctx, b.c, r)
	r.CloseWithError(errors.New("not wanted any more"))
	return err
}

// removal is how long an engine may take to remove a container. A run whose
// context has ended still waits for it.
const removal = time.Minute

func (b *run) close(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer stop()
	if err := b.sandbox.engine.Remove(ctx, b.c); err != nil {
		b.sandbox.log.Error("container left behind", "job", b.Job, "err", err)
	}
}

// owner looks up who the user "build" is, once for each image.
func (s *Sandbox) owner(ctx context.Context, image string, c Container) (owner, error) {
	s.mu.Lock()
	who, ok := s.owners[image]
	s.mu.Unlock()
	if ok {
		return who, nil
	}
	text, err := getFile(ctx, s.engine, c, "/etc/passwd", 1<<20)
	if err != nil {
		return who, err
	}
	if who, err = builder(string(text)); err != nil {
		return who, fmt.Errorf("image %s: %w", image, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[image] = who
	return who, nil
}

package build

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The scripts of the steps. Nothing is ever pasted into them: what differs from
// run to run are their arguments and environment.
var (
	//go:embed steps/pacman.sh
	pacmanScript string
	//go:embed steps/finish.sh
	finishScript string
	//go:embed steps/sources.sh
	sourcesScript string
	//go:embed steps/build.sh
	buildScript string
	//go:embed steps/srcinfo.sh
	srcInfoScript string
	//go:embed steps/counters.sh
	countersScript string
)

// all is a run from the furnished container to the packages.
func (b *run) all(ctx context.Context) (*Result, error) {
	for _, phase := range []func(context.Context) error{b.dependencies, b.sources, b.isolate, b.build} {
		if err := phase(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.enter("collect", "packages"); err != nil {
		return nil, err
	}
	packages, err := b.collect(ctx)
	if err != nil {
		return nil, err
	}
	return &Result{Packages: packages, Image: b.image}, nil
}

// enter begins a phase: a header in the log, and another silence to be broken.
func (b *run) enter(phase, format string, args ...any) error {
	if b.phase != nil {
		b.phase(phase)
	}
	b.out.touch()
	_, err := fmt.Fprintf(b.out, "==> [%s] %s\n", phase, fmt.Sprintf(format, args...))
	return err
}

// exec runs a script with arguments.
func (b *run) exec(ctx context.Context, user, script string, args ...string) (int, error) {
	step := Step{User: user, Dir: "/", Env: messageEnv, Cmd: append([]string{"bash", "-c", script, "serene"}, args...)}
	if user == "build" {
		step.Dir, step.Env = startDir, b.env()
		step.Cmd[2] = finishScript + script
	}
	code, err := b.sandbox.engine.Exec(ctx, b.c, step, b.out)
	if err != nil {
		err = b.lost(ctx, err)
	}
	return code, err
}

// lost looks whether an engine's error comes from its container having died:
// the kernel may have killed even its first process for want of memory.
func (b *run) lost(ctx context.Context, err error) error {
	u, failed := b.sandbox.engine.Usage(ctx, b.c, false)
	if failed == nil && !u.Running && u.OOMKilled {
		return ending{usage: u, limits: b.Limits}.exhausted()
	}
	return err
}

// messageEnv has programs print the messages that are looked for.
var messageEnv = []string{"LC_ALL=C.UTF-8", "LANGUAGE=C"}

// env is the whole environment of makepkg that does not come from the image.
// makepkg prefers these to its makepkg.conf.
func (b *run) env() []string {
	env := append(slices.Clone(messageEnv),
		"BUILDDIR="+buildDir, "PKGDEST="+pkgDest, "SRCDEST="+srcDest,
		"LOGDEST="+buildDir, "SRCPKGDEST="+buildDir,
		"PKGEXT=.pkg.tar.zst",
		"GNUPGHOME="+gnupgDir,
	)
	if b.Arch != "" {
		env = append(env, "CARCH="+b.Arch)
	}
	if b.Packager != "" {
		env = append(env, "PACKAGER="+b.Packager)
	}
	if b.SourceDateEpoch != 0 {
		env = append(env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(b.SourceDateEpoch, 10))
	}
	if b.Limits.CPUs > 0 {
		// nproc counts the machine's cores, which are not the container's.
		env = append(env, fmt.Sprintf("MAKEFLAGS=-j%d", int(math.Ceil(b.Limits.CPUs))))
	}
	if b.CompilerCache != "" {
		env = append(env, "CCACHE_DIR="+ccache) // build.sh puts it before the compilers
	}
	return env
}

// sources downloads and verifies what the build will have no network for.
func (b *run) sources(ctx context.Context) error {
	if !b.hasSources() {
		return nil
	}
	if err := b.enter("sources", "makepkg --verifysource"); err != nil {
		return err
	}
	keyserver := b.Keyserver
	if keyserver == "" {
		keyserver = DefaultKeyserver
	}
	if b.Network == NetworkNone {
		keyserver = ""
	}
	code, err := b.exec(ctx, "build", sourcesScript, append([]string{keyserver}, b.ValidPGPKeys...)...)
	if err != nil || code == 0 {
		return err
	}
	return b.makepkgFailed(ctx, code)
}

func (b *run) isolate(ctx context.Context) error {
	if b.Network == NetworkOpen {
		return nil
	}
	return b.sandbox.engine.Isolate(ctx, b.c)
}

func (b *run) build(ctx context.Context) error {
	network := "off"
	if b.Network == NetworkOpen {
		network = "on"
	}
	if err := b.enter("build", "makepkg, network %s", network); err != nil {
		return err
	}
	code, err := b.exec(ctx, "build", buildScript, network)
	if err != nil || code == 0 {
		return err
	}
	if code == 97 {
		return fmt.Errorf("build: the engine has not taken the network away")
	}
	return b.makepkgFailed(ctx, code)
}

func (b *run) makepkgFailed(ctx context.Context, code int) error {
	message, _ := b.out.errors()
	return b.failed(ctx, ending{code: code, message: message})
}

// failed completes an ending with what was counted and measured until now, and
// turns it into an error.
func (b *run) failed(ctx context.Context, e ending) error {
	e.limits = b.Limits
	var err error
	if e.usage, err = b.sandbox.engine.Usage(ctx, b.c, true); err != nil {
		return err
	}
	if text, err := ask(ctx, b.sandbox.engine, b.c, "bash", "-c", countersScript); err == nil {
		e.counters = parseCounters(text)
	}
	return e.failure()
}

// srcInfo has makepkg print what the PKGBUILD says.
func (b *run) srcInfo(ctx context.Context) ([]byte, error) {
	if err := b.enter("plan", "makepkg --printsrcinfo"); err != nil {
		return nil, err
	}
	code, err := b.exec(ctx, "build", srcInfoScript)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, b.makepkgFailed(ctx, code)
	}
	const most = 1 << 20
	return getFile(ctx, b.sandbox.engine, b.c, pkgDest+"/.SRCINFO", most)
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"serene/internal/build/buildtest"
)

// startBuilder starts serene-build where there is an engine for it. Where there
// is none it says so, and the rest works without.
func (p *place) startBuilder(ctx context.Context) (err error) {
	if err := p.findEngine(ctx); err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Println("note: no build is shown:", reason)
		return nil
	}
	if err := p.configure(); err != nil {
		return err
	}
	if p.builder, err = p.daemon("serene-build"); err != nil {
		return err
	}
	p.builder.Env = append(p.builder.Env, "PATH="+os.Getenv("PATH")) // it runs git
	return p.builder.Start(ctx)
}

// findEngine takes the engine that is there, or starts one that ends with this
// run, and chooses the image.
func (p *place) findEngine(ctx context.Context) (err error) {
	if p.docker, err = buildtest.Find(ctx); err != nil {
		return err
	}
	if p.docker == "" {
		p.engine = buildtest.NewPrivate(p.path("docker"))
		p.docker, p.image = p.engine.Host, buildtest.Image
		return p.engine.Start(ctx)
	}
	if !debianRoot() {
		return nil // the image that the program makes itself
	}
	p.image = buildtest.Image
	return buildtest.EnsureImage(ctx, p.docker)
}

// debianRoot tells whether an image can be made of Debian's packages, as the
// tests do: it takes no registry, and no mirror of Arch.
func debianRoot() bool {
	_, err := os.Stat("/etc/debian_version")
	return err == nil && os.Getuid() == 0
}

// stopEngine ends the engine if it is this run's own, and removes its images,
// which are large.
func (p *place) stopEngine(ctx context.Context) error {
	if p.engine == nil {
		return nil
	}
	if err := p.engine.Close(ctx); err != nil {
		return fmt.Errorf("stop dockerd: %w", err)
	}
	return os.RemoveAll(p.path("docker/data"))
}

// build sends a PKGBUILD, shows how the log of its build ends, and installs what
// came out.
func (p *place) build(ctx context.Context) error {
	if p.builder == nil {
		return nil
	}
	dir, err := p.unpack("built")
	if err != nil {
		return err
	}
	tree, err := exec.CommandContext(ctx, "tar", "c", "-C", dir, ".").Output()
	if err != nil {
		return fmt.Errorf("tar %s: %w", dir, err)
	}
	fmt.Println("building", relative(dir))
	if p.image == "" {
		fmt.Println("note: the first build of a machine fetches Arch's image, which takes minutes")
	}
	began := time.Now()
	cmd := p.ssh.Command(ctx, alias, "build", "-f", "-")
	cmd.Stdin = bytes.NewReader(tree)
	log, err := show(cmd)
	if err != nil {
		return err
	}
	fmt.Printf("%s(%s)\n", last(log, 5), took(began))
	return p.fetch(ctx, "built-serene")
}

// last returns the last n lines of text.
func last(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-1-n):], "")
}

// Command up shows the whole program at work, on this machine, for a person who
// has just fetched it: the daemons on loopback with throw-away state, a package
// built by the real makepkg and pushed with plain ssh, another that a builder
// makes of a PKGBUILD, and a scratch pacman that installs them. Then it says how
// to go on by hand, and waits for Ctrl-C.
//
// With UP_ONCE=1 it stops after the check and its exit status tells how it went.
// It needs the daemons in bin/, as `make build` leaves them, and writes below
// ./var only, but for the image of Debian's packages that builds run in there,
// which it shares with the tests. Without a Docker engine no build is shown.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience bounds each step, buildPatience those that may first have to make or
// fetch an image. On a machine that is well none takes this long.
const (
	patience      = time.Minute
	buildPatience = 15 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := up(ctx, os.Getenv("UP_ONCE") == "1"); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func up(ctx context.Context, once bool) (err error) {
	p, err := newPlace("var", "bin")
	if err != nil {
		return err
	}
	defer p.close()
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, step := range []struct {
		run    func(context.Context) error
		within time.Duration
	}{
		{p.start, patience},
		{p.authorise, patience},
		{p.push, patience},
		{p.install, patience},
		{p.startBuilder, buildPatience},
		{p.build, buildPatience},
	} {
		bounded, cancel := context.WithTimeout(ctx, step.within)
		err := step.run(bounded)
		cancel()
		if ctx.Err() != nil {
			return nil // the person has seen enough
		}
		if err != nil {
			return fmt.Errorf("%w\nthe daemons' logs are in %s", err, p.dir)
		}
	}
	p.explain(once)
	if once {
		return nil
	}
	return p.wait(ctx)
}

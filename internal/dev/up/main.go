// Command up shows the whole program at work, on this machine, for a person who
// has just fetched it: both daemons on loopback with throw-away state, a package
// built by the real makepkg and pushed with plain ssh, and a scratch pacman that
// installs it. Then it says how to go on by hand, and waits for Ctrl-C.
//
// With UP_ONCE=1 it stops after the check and its exit status tells how it went.
// It needs the daemons in bin/, as `make build` leaves them, and writes below
// ./var only.
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

// patience bounds each step. On a machine that is well none takes this long.
const patience = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
	for _, step := range []func(context.Context) error{
		p.start,
		p.authorise,
		p.push,
		p.install,
	} {
		bounded, cancel := context.WithTimeout(ctx, patience)
		err := step(bounded)
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

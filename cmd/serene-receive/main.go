// Command serene-receive is the SSH door of a serene repository: a server that
// takes packages in and answers questions.
//
//	serene-receive [--config FILE] [--state DIR] [--version]
//
// Behind OpenSSH it is no server: as the forced command of a key it runs the
// one verb that the client asked for, with the rights that its flags give.
//
//	serene-receive --allow push,pull --repo testing …
//
// As the forced command of every key, with the rights of each key's own line:
//
//	serene-receive --forced
package main

import (
	"context"
	"os"
	"slices"
	"time"

	"serene/internal/daemon"
	"serene/internal/receive"
)

func main() {
	args := os.Args[1:]
	if receive.HasRightsFlag(args) || slices.Equal(args, []string{forcedFlag}) || forced(args) {
		os.Exit(runForced(args))
	}
	daemon.Main("serene-receive", run)
}

// forced reports whether sshd started this program for a client, be it one that
// asked for nothing, with or without a terminal. A person who has logged in over
// SSH and starts the daemon by hand names its configuration or state.
func forced(args []string) bool {
	_, asked := os.LookupEnv("SSH_ORIGINAL_COMMAND")
	_, remote := os.LookupEnv("SSH_CONNECTION")
	return asked || remote && len(args) == 0
}

// drainTime is how long uploads in flight may go on once the daemon is told to
// stop. It is shorter than the unit's TimeoutStopSec.
const drainTime = time.Minute

func run(ctx context.Context, p *daemon.Process) error {
	go tuneMemory(ctx)
	q, err := openQueue(p.Config, p.Log)
	if err != nil {
		return err
	}
	defer q.close()
	d, err := openDoor(p.Config, q, p.Log)
	if err != nil {
		return err
	}
	l, err := p.Listen("ssh", p.Config.Receive.Listen.String())
	if err != nil {
		return err
	}
	go d.reload(ctx, p.Reloads())
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(l) }()
	p.Ready()

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	go q.drain(drain)
	if err := d.server.Shutdown(drain); err != nil {
		p.Log.Warn("sessions were cut off", "after", drainTime)
	}
	return <-served
}

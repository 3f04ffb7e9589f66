// Package daemon is what each of the daemons is as a process: flags, the
// configuration and its reloading, log lines, signals, listening sockets,
// readiness and exit codes. It knows nothing of what a daemon does, and holds
// no state beyond the process.
//
// A program is one call of Main:
//
//	func main() { daemon.Main("serene-serve", serve.Run) }
//
// Under systemd it speaks the readiness protocol of sd_notify(3) and takes
// sockets as sd_listen_fds(3) passes them; without systemd neither is missed.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"serene/internal/config"
)

// The exit codes of a daemon.
const (
	exitDone   = 0  // asked to stop, and stopped cleanly
	exitFailed = 1  // run returned an error
	exitUsage  = 64 // a flag or the configuration is wrong; trying again will not help
)

// Main runs a daemon and ends the process with its exit code. It returns only
// by os.Exit. The context of run ends at the first SIGTERM or SIGINT; a second
// one kills. An error of run is logged, unless it is that the context ended.
func Main(name string, run func(ctx context.Context, p *Process) error) {
	// From here on, so that a SIGHUP during the start is a reload and no death.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)

	d := &daemon{name: name, args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr, hangups: hangups}
	os.Exit(d.run(ctx, run))
}

// daemon is a process before it has a configuration. Tests make their own.
type daemon struct {
	name           string
	args           []string
	stdout, stderr io.Writer
	hangups        <-chan os.Signal
}

// flags are what the command line and the environment say.
type flags struct {
	config, state string
	version       bool
}

// run is Main without the process around it.
func (d *daemon) run(ctx context.Context, run func(context.Context, *Process) error) int {
	f, err := d.parse()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(d.stdout, usage, d.name)
		return exitDone
	case err != nil:
		fmt.Fprintf(d.stderr, "%s: %v; see --help\n", d.name, err)
		return exitUsage
	case f.version:
		fmt.Fprintf(d.stdout, "%s %s\n", d.name, Version())
		return exitDone
	}
	p, err := d.process(f)
	if err != nil {
		fmt.Fprintf(d.stderr, "%s: %v\n", d.name, err)
		return exitUsage
	}
	return p.run(ctx, d.hangups, run)
}

const usage = `Usage: %s [--config FILE] [--state DIR] [--version]

  --config FILE  the configuration; also SERENE_CONFIG. Default: serene.toml in
                 the directory --state names, if it is there
  --state DIR    the state directory; also SERENE_STATE. It wins over the
                 configuration's. Default: /var/lib/serene
  --version      print the version

SIGHUP reloads, SIGTERM drains and ends. SERENE_DEBUG=1 logs requests too.
`

func (d *daemon) parse() (flags, error) {
	f := flags{config: os.Getenv("SERENE_CONFIG"), state: os.Getenv("SERENE_STATE")}
	set := flag.NewFlagSet(d.name, flag.ContinueOnError)
	set.SetOutput(io.Discard) // one line, and it is ours
	set.StringVar(&f.config, "config", f.config, "")
	set.StringVar(&f.state, "state", f.state, "")
	set.BoolVar(&f.version, "version", false, "")
	if err := set.Parse(d.args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	return f, nil
}

// process makes the Process: it reads the configuration and takes what systemd
// passed out of the environment, so that no child inherits it.
func (d *daemon) process(f flags) (*Process, error) {
	load := func() (*config.Config, error) { return config.Load(f.config, f.state) }
	c, err := load()
	if err != nil {
		return nil, err
	}
	sockets, err := takeSockets()
	if err != nil {
		return nil, err
	}
	log := newLogger(d.stderr, c.Log)
	slog.SetDefault(log)
	return &Process{
		Name:    d.name,
		Config:  c,
		Log:     log,
		load:    load,
		sockets: sockets,
		notify:  takeNotifier(),
		reloads: make(chan *config.Config, 1),
	}, nil
}

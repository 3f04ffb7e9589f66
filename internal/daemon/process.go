package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"serene/internal/config"
)

// Process is the running daemon, as its run function sees it.
type Process struct {
	Name   string
	Config *config.Config // as it was at the start; Reloads brings later ones
	Log    *slog.Logger

	load    func() (*config.Config, error)
	notify  notifier
	reloads chan *config.Config

	mu      sync.Mutex // guards sockets
	sockets map[string]*os.File
}

// Listen returns a listener: the socket systemd passed under this name
// (FileDescriptorName= in the unit), or else one bound to the TCP address addr.
// The address actually bound is logged, so that ":0" can be used.
func (p *Process) Listen(name, addr string) (net.Listener, error) {
	l, err := p.passed(name)
	if l == nil && err == nil {
		l, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	p.Log.Info("listening", "name", name, "addr", l.Addr().String())
	return l, nil
}

// passed returns the listener passed under name, nil when there is none.
func (p *Process) passed(name string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.sockets[name]
	if f == nil {
		return nil, nil
	}
	delete(p.sockets, name)
	defer f.Close() // FileListener works on a duplicate
	return net.FileListener(f)
}

// Ready tells the service manager, and the log, that the daemon does its work.
// Call it once, after the last Listen.
func (p *Process) Ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.sockets {
		p.Log.Warn("socket passed but not used", "name", name)
	}
	p.tell("READY=1")
	p.Log.Info("ready", "version", Version(), "state", string(p.Config.State))
}

// Reloads delivers a configuration after each SIGHUP: the new one, or, if that
// does not load, the one before, as certificates and keys are read again either
// way. Of several that were not received in time only the last is kept.
func (p *Process) Reloads() <-chan *config.Config { return p.reloads }

// run calls the daemon's function and turns its result into an exit code.
func (p *Process) run(ctx context.Context, hangups <-chan os.Signal, run func(context.Context, *Process) error) int {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(ctx, hangups) })
	err := run(ctx, p)
	asked := ctx.Err() != nil
	cancel()
	watching.Wait()

	var bad *config.Error
	switch {
	case err == nil, asked && errors.Is(err, context.Canceled):
		p.Log.Info("stopped")
		return exitDone
	case errors.As(err, &bad):
		p.Log.Error("config refused", "err", err)
		return exitUsage
	default:
		p.Log.Error("failed", "err", err)
		return exitFailed
	}
}

// watch serves SIGHUP until ctx ends, and then says that the daemon stops.
func (p *Process) watch(ctx context.Context, hangups <-chan os.Signal) {
	current := p.Config
	for {
		select {
		case <-ctx.Done():
			p.tell("STOPPING=1")
			return
		case <-hangups:
			p.tell("RELOADING=1\nMONOTONIC_USEC=" + monotonicMicroseconds())
			current = p.reload(current)
			p.tell("READY=1")
		}
	}
}

// reload delivers the configuration as it is now in the file, or else current,
// and returns what it delivered.
func (p *Process) reload(current *config.Config) *config.Config {
	c, err := p.load()
	if err != nil {
		p.Log.Error("config not reloaded", "err", err)
		c = current
	} else {
		p.Log.Info("config reloaded")
	}
	select {
	case <-p.reloads: // nobody took the one before; it is out of date
	default:
	}
	p.reloads <- c
	return c
}

// tell sends state to the service manager. That it does not arrive is no reason
// to stop serving.
func (p *Process) tell(state string) {
	if err := p.notify.send(state); err != nil {
		p.Log.Warn("service manager not notified", "err", err)
	}
}

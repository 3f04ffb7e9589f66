package sshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	glider "github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

const (
	// keyPoll is how often open connections are held against Keys.Version.
	keyPoll = time.Second
	// linger is how long a client may take to hang up after its last session
	// ended during a Shutdown. Closing at once could reset the connection and
	// take output along that the client has not read yet.
	linger = 2 * time.Second
	// unwind is how long a Shutdown waits for handlers whose client it cut.
	unwind = 5 * time.Second
)

// errShutdown is why a session ends that a Shutdown did not wait for.
var errShutdown = errors.New("server is shutting down")

// A Server lets keys in and runs their sessions. Make one with [New].
type Server struct {
	cfg      Config
	glider   *glider.Server
	startups *startups
	stop     chan struct{} // closed when Shutdown begins

	handlers sync.WaitGroup // running handlers; added to under mu, before draining
	conns    sync.WaitGroup // entries of clients; likewise

	mu        sync.Mutex // guards what follows
	draining  bool
	polling   bool
	listeners map[net.Listener]struct{}
	clients   map[*client]struct{} // every open connection
	perSource map[string]int       // authenticated ones of clients
	perKey    map[string]int       // likewise, by fingerprint
}

// New checks cfg and returns a server that is not listening yet.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{
		cfg:       cfg,
		startups:  newStartups(cfg.Limits.MaxStartups),
		stop:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		clients:   make(map[*client]struct{}),
		perSource: make(map[string]int),
		perKey:    make(map[string]int),
	}
	var err error
	if s.glider, err = s.newGlider(); err != nil {
		return nil, err
	}
	return s, nil
}

// Serve accepts connections on l until [Server.Shutdown], and returns nil
// then; any other reason to stop is returned. It closes l, and may run for
// several listeners at a time.
func (s *Server) Serve(l net.Listener) error {
	if !s.addListener(l) {
		l.Close()
		return nil
	}
	err := s.glider.Serve(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	if s.draining {
		return nil
	}
	return fmt.Errorf("serve ssh: %w", err)
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.listeners[l] = struct{}{}
	if !s.polling {
		s.polling = true
		go s.pollKeys()
	}
	return true
}

// Shutdown stops accepting connections and sessions, closes connections that
// run nothing, and waits for the running sessions. When ctx ends first, it ends
// their contexts, tells their clients, closes their connections, gives the
// handlers a few seconds to return, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginDrain()
	finished := make(chan struct{})
	go func() {
		s.handlers.Wait()
		s.conns.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	for _, c := range s.open() {
		c.cancel(errShutdown)
		c.dismiss()
	}
	select {
	case <-finished:
		return ctx.Err()
	case <-time.After(linger):
	}
	for _, c := range s.open() {
		c.end(errShutdown)
	}
	select {
	case <-finished:
	case <-time.After(unwind):
		s.cfg.Log.Error("sessions did not end when told to; leaving them behind")
	}
	return ctx.Err()
}

func (s *Server) beginDrain() {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		close(s.stop)
	}
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	for _, c := range s.open() {
		c.endIfUnused(errShutdown)
	}
}

// open returns the connections that are open now.
func (s *Server) open() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		all = append(all, c)
	}
	return all
}

// pollKeys closes the connections of keys that lost their line, soon after
// the Authorizer's version says so.
func (s *Server) pollKeys() {
	tick := time.NewTicker(keyPoll)
	defer tick.Stop()
	version := s.cfg.Keys.Version()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if v := s.cfg.Keys.Version(); v != version {
			version = v
			s.Recheck()
		}
	}
}

// Recheck authorises the key of each open connection again, and closes those
// that are refused now or whose forced command has changed. The server does
// this by itself when Keys.Version changes; a caller that cannot wait a
// second for it may ask.
func (s *Server) Recheck() {
	for _, c := range s.open() {
		if err := c.recheck(); err != nil {
			c.end(err)
		}
	}
}

// authorize asks the Authorizer and outlives its panics: they would otherwise
// end the process, since no handler runs yet.
func (s *Server) authorize(user string, remote net.Addr, key gossh.PublicKey) (id *Identity, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.cfg.Log.Error("panic while authorising a key", "err", r, "stack", string(debug.Stack()))
			id, err = nil, errors.New("internal error")
		}
	}()
	return s.cfg.Keys.Authorize(user, remote, key)
}

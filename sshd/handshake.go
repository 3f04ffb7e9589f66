package sshd

import (
	"errors"
	"fmt"
	"net"

	glider "github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// clientKey finds a connection's *client: until the handshake is through in
// gliderlabs' context, from then on in what the verified callback returned.
// gliderlabs' own context keys are not used: they hold keys only offered.
type clientKey struct{}

// newGlider sets up the library for listening, handshake and dispatch. Its
// own session handler and deadlines stay out of use: a malformed pty-req
// panics the former, and it overwrites the latter.
func (s *Server) newGlider() (*glider.Server, error) {
	algorithms, err := s.cfg.Algorithms.resolve()
	if err != nil {
		return nil, err
	}
	hostKeys, err := hostSigners(s.cfg.HostKeys)
	if err != nil {
		return nil, err
	}
	return &glider.Server{
		Version:      "serene", // no number: it tells an attacker more than a friend
		Banner:       s.cfg.Banner,
		HostSigners:  hostKeys,
		ConnCallback: s.accept,
		// Without a handler here gliderlabs lets everyone in.
		PublicKeyHandler: func(ctx glider.Context, key glider.PublicKey) bool {
			return s.offered(ctx, key)
		},
		ServerConfigCallback: func(ctx glider.Context) *gossh.ServerConfig {
			return s.serverConfig(clientOf(ctx), algorithms)
		},
		ConnectionFailedCallback: func(conn net.Conn, err error) {
			s.cfg.Log.Info("connection ended before a key was accepted", "remote", conn.RemoteAddr().String(), "err", abridged(err.Error()))
		},
		// Never called; Serve would set it, in a race with a second Serve.
		Handler: func(glider.Session) {},
		ChannelHandlers: map[string]glider.ChannelHandler{
			"session": serveChannel,
			"default": refuseChannel,
		},
		RequestHandlers:   map[string]glider.RequestHandler{}, // all refused
		SubsystemHandlers: map[string]glider.SubsystemHandler{},
	}, nil
}

func clientOf(ctx glider.Context) *client {
	return ctx.Value(clientKey{}).(*client)
}

// accept wraps a new connection, or returns nil to close it.
func (s *Server) accept(ctx glider.Context, conn net.Conn) net.Conn {
	c := newClient(s, conn)
	if !s.addClient(c) {
		return nil
	}
	ctx.SetValue(clientKey{}, c)
	if victim := s.startups.add(c); victim != nil {
		s.cfg.Log.Debug("MaxStartups: dropping the longest waiting", "remote", victim.RemoteAddr().String())
		victim.Close()
	}
	c.startGrace()
	return c
}

func (s *Server) addClient(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.clients[c] = struct{}{}
	s.conns.Add(1)
	return true
}

// removeClient forgets c, which has closed; called once for each.
func (s *Server) removeClient(c *client) {
	s.startups.done(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.conns.Done()
	if id := c.identity; id != nil {
		release(s.perSource, c.source)
		release(s.perKey, id.Fingerprint)
	}
}

func release(count map[string]int, key string) {
	if count[key]--; count[key] <= 0 {
		delete(count, key)
	}
}

func (s *Server) serverConfig(c *client, a Algorithms) *gossh.ServerConfig {
	return &gossh.ServerConfig{
		Config: gossh.Config{
			KeyExchanges: a.KexAlgorithms,
			Ciphers:      a.Ciphers,
			MACs:         a.MACs,
		},
		PublicKeyAuthAlgorithms: a.PubkeyAcceptedAlgorithms,
		MaxAuthTries:            s.cfg.Limits.MaxAuthTries,
		VerifiedPublicKeyCallback: func(conn gossh.ConnMetadata, key gossh.PublicKey, _ *gossh.Permissions, _ string) (*gossh.Permissions, error) {
			return c.proven(conn.User(), key)
		},
	}
}

// offered answers whether it is worth signing with key. Nothing is kept: the
// client has proved nothing yet.
func (s *Server) offered(ctx glider.Context, key gossh.PublicKey) bool {
	c := clientOf(ctx)
	_, err := s.authorize(ctx.User(), c.RemoteAddr(), key)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrUnknownKey):
		s.cfg.Log.Debug("key refused", "key", Fingerprint(key), "remote", c.RemoteAddr().String(), "err", err)
	default:
		s.cfg.Log.Warn("key refused", "key", Fingerprint(key), "remote", c.RemoteAddr().String(), "err", err)
	}
	return false
}

// proven lets c in as the holder of key, which has just signed.
func (c *client) proven(user string, key gossh.PublicKey) (*gossh.Permissions, error) {
	id, err := c.srv.authorize(user, c.RemoteAddr(), key)
	if err != nil {
		return nil, err
	}
	if err := c.srv.admit(c, id); err != nil {
		return nil, &gossh.BannerError{Err: err, Message: err.Error() + "\n"}
	}
	c.authenticated(user, key)
	c.srv.cfg.Log.Info("key accepted", "key", id.Fingerprint, "comment", id.Comment, "line", id.Line,
		"user", abridged(user), "remote", c.RemoteAddr().String())
	return &gossh.Permissions{ExtraData: map[any]any{clientKey{}: c}}, nil
}

// admit counts c among the authenticated connections, or refuses it.
func (s *Server) admit(c *client, id *Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.clients[c]; !open || s.draining {
		return errShutdown
	}
	l := &s.cfg.Limits
	if n := l.MaxConnectionsPerAddress; n > 0 && s.perSource[c.source] >= n {
		return fmt.Errorf("too many connections from %s: at most %d", c.source, n)
	}
	if n := l.MaxConnectionsPerKey; n > 0 && s.perKey[id.Fingerprint] >= n {
		return fmt.Errorf("too many connections with this key: at most %d", n)
	}
	s.perSource[c.source]++
	s.perKey[id.Fingerprint]++
	c.identity = id
	return nil
}

package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

var (
	errGone     = errors.New("the client went away")
	errSessions = errors.New("too many sessions on this connection")
)

// client is one connection, from accepting to closing. It stands between the
// SSH library and the socket, so that it knows when bytes move and when the
// connection breaks, and so that nobody else sets deadlines.
type client struct {
	net.Conn
	srv     *Server
	source  string          // see sourceOf
	ctx     context.Context // ends with the connection
	cancel  context.CancelCauseFunc
	waited  context.Context // ends when the sessions have been waited for long enough
	dismiss context.CancelFunc
	grace   *time.Timer

	heard   atomic.Int64 // when the client last sent anything, Unix nanoseconds
	moved   atomic.Int64 // when a session's stream last moved, likewise
	broken  atomic.Bool  // Read has failed: what follows is not a clean end
	known   atomic.Bool  // a key was accepted
	probing atomic.Bool  // a sign of life has been asked for
	refused atomic.Int32 // refusals being sent

	unanswered int       // requests for a sign of life, and when the last was
	asked      time.Time // sent; both belong to watch

	closing  sync.Once
	identity *Identity // guarded by srv.mu; nil until authenticated

	mu       sync.Mutex // guards what follows
	user     string
	key      gossh.PublicKey
	mux      gossh.Conn // nil until the first session channel
	admitted time.Time
	unused   time.Time // since when no handler runs
	channels int       // open session channels
	running  int       // of these, with a handler
}

func newClient(s *Server, conn net.Conn) *client {
	c := &client{Conn: conn, srv: s, source: sourceOf(conn.RemoteAddr())}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.waited, c.dismiss = context.WithCancel(context.Background())
	return c
}

func (c *client) startGrace() {
	d := c.srv.cfg.Limits.LoginGraceTime
	if d < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grace = time.AfterFunc(d, func() {
		c.end(fmt.Errorf("not authenticated within %s", d))
	})
}

// Read notes that the client is alive, or that the connection broke. It does
// so before the library can turn a broken connection into the end of stdin.
func (c *client) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
	}
	if !c.known.Load() {
		acknowledge(c.Conn)
	}
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// Close closes the connection and gives back all it holds, once.
func (c *client) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		c.broken.Store(true)
		c.cancel(errGone)
		c.mu.Lock()
		if c.grace != nil {
			c.grace.Stop()
		}
		c.mu.Unlock()
		c.srv.removeClient(c)
	})
	return err
}

// The library asks for deadlines before every read and write; there are none
// here, since silence is watched instead.

func (c *client) SetDeadline(time.Time) error      { return nil }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }

// end closes the connection for a reason its sessions get to see.
func (c *client) end(cause error) {
	if c.ctx.Err() == nil {
		c.srv.cfg.Log.Info("closing connection", "remote", c.RemoteAddr().String(), "err", cause)
	}
	c.cancel(cause)
	c.Close()
}

// endIfUnused ends a connection that runs no handler.
func (c *client) endIfUnused(cause error) {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running == 0 {
		c.end(cause)
	}
}

// authenticated records who proved which key, and begins to watch.
func (c *client) authenticated(user string, key gossh.PublicKey) {
	c.known.Store(true)
	c.srv.startups.done(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grace != nil {
		c.grace.Stop()
	}
	now := time.Now()
	c.user, c.key, c.admitted, c.unused = user, key, now, now
	c.moved.Store(now.UnixNano())
	go c.watch()
}

// authorize asks anew who the client is.
func (c *client) authorize() (*Identity, error) {
	c.mu.Lock()
	user, key := c.user, c.key
	c.mu.Unlock()
	return c.srv.authorize(user, c.RemoteAddr(), key)
}

// recheck returns why an authenticated connection must not go on, or nil.
func (c *client) recheck() error {
	c.srv.mu.Lock()
	was := c.identity
	c.srv.mu.Unlock()
	if was == nil {
		return nil // still to be authorised
	}
	is, err := c.authorize()
	if err != nil {
		return err
	}
	if !was.sameRights(is) {
		return errors.New("the key's forced command has changed")
	}
	return nil
}

// openChannel takes one of MaxSessions.
func (c *client) openChannel(mux gossh.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.srv.cfg.Limits.MaxSessions; n > 0 && c.channels >= n {
		return errSessions
	}
	c.channels++
	c.mux = mux
	return nil
}

func (c *client) closeChannel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.channels--
}

// begin counts a handler that is about to run; not any more while draining.
func (c *client) begin() bool {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	if c.srv.draining {
		return false
	}
	c.srv.handlers.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	c.moved.Store(time.Now().UnixNano())
	return true
}

// finish undoes begin.
func (c *client) finish() {
	c.mu.Lock()
	c.running--
	last := c.running == 0
	if last {
		c.unused = time.Now()
	}
	c.mu.Unlock()
	c.srv.handlers.Done()
	select {
	case <-c.srv.stop:
		if last {
			time.AfterFunc(linger, func() { c.end(errShutdown) })
		}
	default:
	}
}

package sshd

import (
	"errors"
	"fmt"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// watch ends an authenticated connection that has become silent, unused or
// old, and asks a silent client for a sign of life.
func (c *client) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case now := <-timer.C:
			next, err := c.inspect(now)
			if err != nil {
				c.end(err)
				return
			}
			timer.Reset(next.Sub(now))
		}
	}
}

// inspect returns why the connection must end, or when to look again.
func (c *client) inspect(now time.Time) (next time.Time, err error) {
	l := &c.srv.cfg.Limits
	c.mu.Lock()
	admitted, unused, running, mux := c.admitted, c.unused, c.running, c.mux
	c.mu.Unlock()
	moved := instant(c.moved.Load())
	if running > 0 { // a clock that stands still
		unused = now
	} else {
		moved = now
	}
	a := alarm{now: now, next: now.Add(time.Hour)}
	switch {
	case a.over(admitted, l.MaxConnectionTime):
		err = fmt.Errorf("connected for %s", l.MaxConnectionTime)
	case a.over(unused, l.UnusedConnectionTimeout):
		err = fmt.Errorf("no command run for %s", l.UnusedConnectionTimeout)
	case a.over(moved, l.ChannelTimeout):
		err = fmt.Errorf("no session data for %s", l.ChannelTimeout)
	case c.silent(mux, &a):
		err = errors.New("the client gives no sign of life")
	}
	return a.next, err
}

// silent reports whether the client has left ClientAliveCountMax requests for a
// sign of life unanswered, and sends the next one where it is time. Silence
// alone says nothing: nobody may have asked, or this machine may have slept.
func (c *client) silent(mux gossh.Conn, a *alarm) bool {
	interval, most := c.srv.cfg.Limits.ClientAliveInterval, c.srv.cfg.Limits.ClientAliveCountMax
	if interval < 0 {
		return false
	}
	heard := instant(c.heard.Load())
	if !heard.Before(c.asked) {
		c.unanswered = 0
	}
	switch {
	case !a.over(heard, interval):
		return false
	case mux == nil:
		a.again(interval)
		return false
	case c.unanswered > 0 && !a.over(c.asked, interval):
		return false
	case most > 0 && c.unanswered >= most:
		return true
	}
	c.unanswered++
	c.asked = a.now
	c.probe(mux)
	a.again(interval)
	return false
}

// alarm is when to look again: the earliest of the deadlines looked at.
type alarm struct{ now, next time.Time }

// over reports whether d has passed since; a negative d never does. Where it
// has not, the alarm goes off when it will have.
func (a *alarm) over(since time.Time, d time.Duration) bool {
	if d < 0 {
		return false
	}
	deadline := since.Add(d)
	if !a.now.Before(deadline) {
		return true
	}
	if deadline.Before(a.next) {
		a.next = deadline
	}
	return false
}

// again has the alarm go off after d.
func (a *alarm) again(d time.Duration) { a.over(a.now, d) }

// probe asks the client for any answer. It does not wait: the request blocks
// while the client reads nothing, and until it answers.
func (c *client) probe(mux gossh.Conn) {
	if !c.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.probing.Store(false)
		// An error means the connection is closed, which says enough.
		_, _, _ = mux.SendRequest("keepalive@openssh.com", true, nil)
	}()
}

func instant(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds) }

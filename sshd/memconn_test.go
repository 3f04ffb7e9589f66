package sshd

import (
	"io"
	"net"
	"sync"
	"time"
)

// memConns returns the two ends of a connection without a socket, for tests
// whose time is not the machine's. Unlike net.Pipe's, its writes do not wait
// for reads: both sides of SSH begin by writing.
func memConns() (client, server net.Conn) {
	up, down := newMemPipe(), newMemPipe()
	return &memConn{in: down, out: up}, &memConn{in: up, out: down}
}

type memPipe struct {
	mu     sync.Mutex
	cond   *sync.Cond
	data   []byte
	closed bool
	lost   bool // what is written never arrives
}

func newMemPipe() *memPipe {
	p := new(memPipe)
	p.cond = sync.NewCond(&p.mu)
	return p
}

type memConn struct{ in, out *memPipe }

func (c *memConn) Read(b []byte) (int, error) {
	p := c.in
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 {
		if p.closed {
			return 0, io.EOF
		}
		p.cond.Wait()
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func (c *memConn) Write(b []byte) (int, error) {
	p := c.out
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	if p.lost {
		return len(b), nil
	}
	p.data = append(p.data, b...)
	p.cond.Broadcast()
	return len(b), nil
}

// vanish loses what this end writes from now on.
func (c *memConn) vanish() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.lost = true
}

func (c *memConn) Close() error {
	for _, p := range []*memPipe{c.in, c.out} {
		p.mu.Lock()
		p.closed = true
		p.cond.Broadcast()
		p.mu.Unlock()
	}
	return nil
}

func (*memConn) LocalAddr() net.Addr              { return loopback }
func (*memConn) RemoteAddr() net.Addr             { return loopback }
func (*memConn) SetDeadline(time.Time) error      { return nil }
func (*memConn) SetReadDeadline(time.Time) error  { return nil }
func (*memConn) SetWriteDeadline(time.Time) error { return nil }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}

// memListener hands out connections that are made by dial.
type memListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memListener) dial() net.Conn {
	client, server := memConns()
	l.conns <- server
	return client
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memListener) Addr() net.Addr { return loopback }

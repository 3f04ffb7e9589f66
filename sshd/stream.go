package sshd

import (
	"io"
	"sync"
	"time"
)

// input is a session's stdin.
type input struct {
	channel io.Reader
	client  *client
}

// Read passes the library's bytes on. It tells a connection that broke from a
// stdin that ended: the library calls both io.EOF. Other errors come from
// telling the client to send more, and mean that the connection broke.
func (r *input) Read(b []byte) (int, error) {
	n, err := r.channel.Read(b)
	if n > 0 {
		r.client.moved.Store(time.Now().UnixNano())
	}
	if err != nil && (err != io.EOF || r.client.broken.Load()) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// output is a session's stdout or stderr: unlike the library's, it may be
// written to by several goroutines, and is closed for good at the end.
type output struct {
	client *client

	mu     sync.Mutex // guards w and closed, and is held while writing
	w      io.Writer
	closed bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := o.w.Write(b)
	if n > 0 {
		o.client.moved.Store(time.Now().UnixNano())
	}
	return n, err
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

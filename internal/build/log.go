package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// Log keeps what a build prints, or of too much the head and the tail, in a
// file, and hands it on to a reader as it comes.
//
// Writing never waits for that reader, however slow: the file lies between
// them. The head is handed on at once. What comes after it goes round in the
// rest of the file, and its end is handed on by Close, after a line that says
// how much was left out.
type Log struct {
	file *os.File
	head int64 // the file's first bytes, written once
	tail int64 // the bytes after those, written round and round

	mu      sync.Mutex // guards what follows
	written int64      // by Write, kept or not
	closed  bool
	grown   chan struct{} // holds one token when there may be more to hand on

	// The one goroutine that hands on, and Close after it, own these.
	to   io.Writer
	sent int64 // of the head
	sum  hash.Hash
	done chan struct{}
	err  error // to's first, after which nothing is handed on
}

// deliver is the most that is handed on at once.
const deliver = 64 << 10

// NewLog makes the file, readable for its owner only, and hands on to w. At
// most limit bytes of output are kept, three quarters of it from the beginning.
func NewLog(path string, limit int64, w io.Writer) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{
		file: f, to: w, sum: sha256.New(),
		grown: make(chan struct{}, 1), done: make(chan struct{}),
	}
	l.tail = max(limit/4, 1)
	l.head = max(limit-l.tail, 1)
	go l.handOn()
	return l, nil
}

// Write never blocks on the reader. Its error is the file's.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, os.ErrClosed
	}
	if l.written < l.head {
		defer l.wake()
	}
	for n := 0; n < len(p); {
		at, room := l.place()
		part := p[n:min(int64(len(p)), int64(n)+room)]
		m, err := l.file.WriteAt(part, at)
		l.written += int64(m)
		n += m
		if err != nil {
			return n, fmt.Errorf("write log: %w", err)
		}
	}
	return len(p), nil
}

// place is where the next byte goes, and how many fit there in one piece.
func (l *Log) place() (at, room int64) {
	if l.written < l.head {
		return l.written, l.head - l.written
	}
	round := (l.written - l.head) % l.tail
	return l.head + round, l.tail - round
}

func (l *Log) wake() {
	select {
	case l.grown <- struct{}{}:
	default:
	}
}

// handOn sends the head as it grows, until the log is closed.
func (l *Log) handOn() {
	defer close(l.done)
	for range l.grown {
		l.mu.Lock()
		ready, closed := min(l.written, l.head), l.closed
		l.mu.Unlock()
		l.send(&l.sent, ready)
		if closed {
			return
		}
	}
}

// send hands on the file from *from up to to.
func (l *Log) send(from *int64, to int64) {
	buf := make([]byte, min(deliver, max(to-*from, 0)))
	for *from < to && l.err == nil {
		n, err := l.file.ReadAt(buf[:min(int64(len(buf)), to-*from)], *from)
		*from += int64(n)
		l.pass(buf[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			l.err = err
		}
	}
}

func (l *Log) pass(p []byte) {
	if l.err != nil || len(p) == 0 {
		return
	}
	l.sum.Write(p)
	_, l.err = l.to.Write(p)
}

// Close hands on the rest, what there is of the tail, and the verdict as a line
// of its own, and waits until the reader has taken it all or ctx ends. Its error
// is the reader's. The file stays for whoever wants to keep it; it is not in
// order if anything was left out.
func (l *Log) Close(ctx context.Context, verdict string) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		<-l.done
		l.sendTail()
		l.pass([]byte(verdict + "\n"))
		l.err = errors.Join(l.err, l.file.Close())
	}()
	select {
	case <-finished:
		return l.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendTail hands on what went round after the head, oldest first.
func (l *Log) sendTail() {
	over := l.written - l.head
	if over <= 0 {
		return
	}
	start, oldest := l.head, l.head+over%l.tail
	if over <= l.tail {
		end := l.head + over
		l.send(&start, end)
		return
	}
	l.pass(fmt.Appendf(nil, "\n==> [log] %d bytes left out\n", over-l.tail))
	l.send(&oldest, l.head+l.tail)
	l.send(&start, l.head+over%l.tail)
}

// SHA256 is the digest, in lower hex, of all that was handed on. It may be asked
// once Close has returned nil.
func (l *Log) SHA256() string { return hex.EncodeToString(l.sum.Sum(nil)) }

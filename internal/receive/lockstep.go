package receive

import (
	"encoding/binary"
	"io"
	"slices"
	"sync"
)

// The types of SFTP packets that open or close something (draft-ietf-secsh-filexfer-02).
const (
	sftpOpen    = 3
	sftpClose   = 4
	sftpOpenDir = 11
)

var holds = []byte{sftpOpen, sftpOpenDir, sftpClose}

// lockstep lets no packet pass an open or a close that has not been answered. A
// client cannot honestly use a handle before it was told it, or after it has
// closed it, but one that does races the library, which sets the file up or takes
// it meanwhile. Reads and writes stay as concurrent as they were.
//
// The library answers every packet with one, in the order they came.
type lockstep struct {
	in  io.Reader
	out io.Writer

	head []byte // of the packet being read, not handed on yet
	left uint32 // bytes of it behind head

	mu      sync.Mutex
	changed sync.Cond
	owed    int    // answers
	holding bool   // the last packet opens or closes something
	header  []byte // of the answer being written, as far as it has come
	rest    uint32 // bytes of that answer still to come
	failed  bool   // nobody reads answers any more
}

func newLockstep(in io.Reader, out io.Writer) *lockstep {
	l := &lockstep{in: in, out: out}
	l.changed.L = &l.mu
	return l
}

// Read hands on one packet after another.
func (l *lockstep) Read(b []byte) (int, error) {
	if len(l.head) == 0 && l.left == 0 {
		l.await()
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	if len(l.head) > 0 {
		n := copy(b, l.head)
		l.head = l.head[n:]
		return n, nil
	}
	n, err := l.in.Read(b[:min(len(b), int(l.left))])
	l.left -= uint32(n)
	return n, err
}

// next reads the length and the type of the next packet.
func (l *lockstep) next() error {
	var head [5]byte
	n, err := io.ReadFull(l.in, head[:])
	if l.head = head[:n]; n == len(head) {
		l.left = max(binary.BigEndian.Uint32(head[:]), 1) - 1
		l.mu.Lock()
		l.owed, l.holding = l.owed+1, slices.Contains(holds, head[4])
		l.mu.Unlock()
	}
	if n > 0 {
		return nil // the library finds out that it is cut short
	}
	return err
}

// await returns when an open or a close that was handed on is answered.
func (l *lockstep) await() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.holding && l.owed > 0 && !l.failed {
		l.changed.Wait()
	}
}

// Write passes answers on and counts them.
func (l *lockstep) Write(b []byte) (int, error) {
	n, err := l.out.Write(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = l.failed || err != nil
	l.count(b[:n])
	l.changed.Broadcast()
	return n, err
}

func (l *lockstep) count(b []byte) {
	for len(b) > 0 {
		if l.rest == 0 {
			n := min(len(b), 4-len(l.header))
			l.header, b = append(l.header, b[:n]...), b[n:]
			if len(l.header) < 4 {
				return
			}
			l.rest, l.header = binary.BigEndian.Uint32(l.header), l.header[:0]
		}
		n := min(uint32(len(b)), l.rest)
		if l.rest, b = l.rest-n, b[n:]; l.rest == 0 {
			l.owed--
		}
	}
}

// Close closes nothing: the client's streams end with the session.
func (l *lockstep) Close() error { return nil }

package alpm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

const (
	chunkSize  = 128 << 10
	chunkCount = 4
)

// source is the package file as it arrives: it counts, limits and hashes what
// passes. The hash runs in a goroutine of its own, because it costs as much as
// everything else together; chunkCount buffers bound what is between them.
type source struct {
	r    io.Reader
	most int64
	n    int64  // bytes read from r
	rest []byte // of the current chunk, not yet handed out
	err  error  // what ended r: io.EOF, an error of r, or a *Fault

	free chan []byte   // chunks to fill; each comes back from the hash
	work chan []byte   // chunks to hash
	sum  chan [32]byte // the result, after work is closed
}

func newSource(r io.Reader, most int64) *source {
	s := &source{
		r: r, most: most,
		free: make(chan []byte, chunkCount),
		work: make(chan []byte, chunkCount),
		sum:  make(chan [32]byte, 1),
	}
	for range chunkCount {
		s.free <- make([]byte, chunkSize)
	}
	go s.hash()
	return s
}

func (s *source) hash() {
	h := sha256.New()
	for chunk := range s.work {
		h.Write(chunk)
		s.free <- chunk[:cap(chunk)]
	}
	s.sum <- [32]byte(h.Sum(nil))
}

// close ends the hash and returns it. It must be called once, whatever happened.
func (s *source) close() [32]byte {
	close(s.work)
	return <-s.sum
}

// fill reads the next chunk. The previous one has been handed out whole by then,
// so that it does not matter that the hash may have freed it before.
func (s *source) fill() {
	if s.err != nil {
		return
	}
	chunk := <-s.free
	n := 0
	for n < len(chunk) && s.err == nil {
		var m int
		m, s.err = s.r.Read(chunk[n:])
		n += m
	}
	s.n += int64(n)
	if s.n > s.most {
		s.err = faultf(KindTooLarge, "", "package file exceeds %d bytes", s.most)
		n = 0
	}
	s.rest = chunk[:n]
	s.work <- s.rest
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		s.fill()
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, s.err
	}
	return n, nil
}

// ReadByte implements io.ByteReader, so that no decompressor buffers once more.
func (s *source) ReadByte() (byte, error) {
	if len(s.rest) == 0 {
		s.fill()
	}
	if len(s.rest) == 0 {
		return 0, s.err
	}
	c := s.rest[0]
	s.rest = s.rest[1:]
	return c, nil
}

// Peek returns the next bytes without consuming them, fewer only where the file
// has fewer. It is for the very beginning.
func (s *source) Peek(n int) []byte {
	if s.n == 0 {
		s.fill()
	}
	return s.rest[:min(n, len(s.rest))]
}

// failure returns the error that explains all others: r's own, or the limit.
func (s *source) failure() error {
	if s.err == nil || s.err == io.EOF {
		return nil
	}
	if fault, ok := errors.AsType[*Fault](s.err); ok {
		return fault
	}
	return fmt.Errorf("read package: %w", s.err)
}

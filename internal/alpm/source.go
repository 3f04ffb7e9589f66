package alpm

import (
	"errors"
	"fmt"
	"io"
)

// source is the package file as it arrives: it counts, limits and hashes what
// passes.
type source struct {
	r    io.Reader
	most int64
	n    int64  // bytes read from r
	rest []byte // of the current chunk, not yet handed out
	err  error  // what ended r: io.EOF, an error of r, or a *Fault

	*hasher
}

func newSource(r io.Reader, most int64) *source {
	return &source{r: r, most: most, hasher: newHasher()}
}

// fill reads the next chunk. The previous one has been handed out whole by then,
// so that it does not matter that the hasher may have freed it before.
func (s *source) fill() {
	if s.err != nil {
		return
	}
	chunk := s.chunk()
	n, err := fill(s.r, chunk)
	s.err = err
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

// fill reads until b is full, or to what ends r.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

package alpm

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"errors"
	"io"
)

// archive is a compressed tar that is read to its exact end.
type archive struct {
	packed      func() int64 // compressed bytes consumed so far
	most, ratio int64        // limits on what comes out

	*tar.Reader
	unpacked unpacked
	free     func()
}

func (a *archive) open(src byteSource, kind compression) error {
	r, free, err := kind.open(src)
	a.free = free
	a.unpacked = unpacked{r: r, packed: a.packed, most: a.most, ratio: a.ratio, err: err}
	a.Reader = tar.NewReader(&a.unpacked)
	if err == io.EOF {
		a.unpacked.err = io.ErrUnexpectedEOF
	}
	return a.unpacked.failure()
}

func (a *archive) close() { a.free() }

// next returns the next member, or io.EOF after an end-of-archive.
func (a *archive) next() (*tar.Header, error) {
	h, err := a.Next()
	switch {
	case err == nil:
		return h, nil
	case err == io.EOF && a.unpacked.ended():
		return nil, faultf(KindTarEnd, "", "archive has no end-of-archive: it is cut off")
	case err == io.EOF:
		return nil, io.EOF
	}
	return nil, a.broken(err)
}

// broken explains an error of the tar reader: by what is below it, if that failed.
func (a *archive) broken(err error) error {
	if cause := a.unpacked.failure(); cause != nil {
		return cause
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return faultf(KindTarEnd, "", "archive is cut off within a member")
	}
	return faultf(KindTarCorrupt, "", "not a tar archive, or a damaged one")
}

// end reads what is left, which may only be zero bytes and then the proper end of
// the compressed data.
func (a *archive) end() error {
	buf := make([]byte, 32<<10)
	zero := make([]byte, len(buf))
	for {
		n, err := a.unpacked.Read(buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			return faultf(KindTarTrailing, "", "archive goes on after its end-of-archive")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return a.broken(err)
		}
	}
}

func isCorruptFlate(err error) bool {
	_, ok := errors.AsType[flate.CorruptInputError](err)
	return ok
}

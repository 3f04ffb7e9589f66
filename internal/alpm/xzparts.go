package alpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzBlockHeader has -1 for a size that is not given.
type xzBlockHeader struct{ in, out, dict int64 }

// parseXZBlockHeader reads a block header without its size byte and checksum. It
// takes the one filter that xz uses unless told otherwise.
func parseXZBlockHeader(b []byte) (xzBlockHeader, error) {
	r := &xzInput{byteSource: bytes.NewReader(b[1:])}
	h := xzBlockHeader{in: -1, out: -1}
	flags := b[0]
	if flags&0x3f != 0 {
		return h, errors.New("xz: only the LZMA2 filter is supported")
	}
	for _, size := range []struct {
		flag byte
		to   *int64
	}{{0x40, &h.in}, {0x80, &h.out}} {
		if flags&size.flag == 0 {
			continue
		}
		n, err := r.varint()
		if err != nil {
			return h, err
		}
		*size.to = int64(n)
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return h, noEOF(err)
	}
	if filter[0] != xzLZMA2 || filter[1] != 1 {
		return h, errors.New("xz: only the LZMA2 filter is supported")
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	h.dict = max(dict, lzma.MinDictCap)
	if rest := b[1+r.n:]; err == nil && len(bytes.Trim(rest, "\x00")) != 0 {
		err = errors.New("xz: block header padding is not zero")
	}
	return h, err
}

const xzSHA256 = 10

func newXZCheck(kind byte) (hash.Hash, error) {
	switch kind {
	case 0:
		return noCheck{crc32.NewIEEE()}, nil
	case 1:
		return crc32.NewIEEE(), nil
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case xzSHA256:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("xz: unknown check %d", kind)
}

// noCheck stands for "no check": it sums to nothing.
type noCheck struct{ hash.Hash }

func (noCheck) Size() int           { return 0 }
func (noCheck) Sum(b []byte) []byte { return b }

// xzRecords is a list of blocks as a count and a digest, of constant size.
type xzRecords struct {
	n   uint64
	sum hash.Hash
}

func newXZRecords() xzRecords { return xzRecords{sum: sha256.New()} }

func (r *xzRecords) add(packed, out uint64) {
	r.n++
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], packed)
	binary.LittleEndian.PutUint64(b[8:], out)
	r.sum.Write(b[:])
}

func (r *xzRecords) equal(o xzRecords) bool {
	return r.n == o.n && bytes.Equal(r.sum.Sum(nil), o.sum.Sum(nil))
}

// xzInput counts what is read and sums it up while sum is set.
type xzInput struct {
	byteSource
	n   int64
	sum hash.Hash32
}

func (i *xzInput) Read(p []byte) (int, error) {
	n, err := i.byteSource.Read(p)
	i.n += int64(n)
	if i.sum != nil {
		i.sum.Write(p[:n])
	}
	return n, err
}

func (i *xzInput) ReadByte() (byte, error) {
	c, err := i.byteSource.ReadByte()
	if err != nil {
		return 0, err
	}
	i.n++
	if i.sum != nil {
		i.sum.Write([]byte{c})
	}
	return c, nil
}

func (i *xzInput) mustByte() (byte, error) {
	c, err := i.ReadByte()
	return c, noEOF(err)
}

// padding reads zero bytes up to a multiple of four.
func (i *xzInput) padding(n int64) error {
	for ; n%4 != 0; n++ {
		switch c, err := i.mustByte(); {
		case err != nil:
			return err
		case c != 0:
			return errors.New("xz: padding is not zero")
		}
	}
	return nil
}

// varint reads a number of at most 63 bits, seven a byte, in its shortest form.
func (i *xzInput) varint() (uint64, error) {
	var n uint64
	for shift := 0; shift < 63; shift += 7 {
		c, err := i.mustByte()
		if err != nil {
			return 0, err
		}
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 {
				break
			}
			return n, nil
		}
	}
	return 0, errors.New("xz: bad number")
}

// noEOF is for places where the input must not end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

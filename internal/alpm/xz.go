package alpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// The container of an .xz file, version 1.2.0 of its specification, around the
// LZMA2 decoder of ulikunitz/xz. That module has a container of its own, but it
// gives every block the dictionary it asks for, up to 4 GiB, and remembers a
// record per block, so that a small file could take all memory.

var (
	errXZMemory   = errors.New("xz: dictionary too large")
	errXZTrailing = errors.New("xz: no stream where one should begin")
)

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzLZMA2       = 0x21
)

// xzReader decodes streams in a row with the padding that may follow each.
type xzReader struct {
	src   *xzInput
	check byte // type of check, from the stream header
	block *xzBlock
	sums  xzRecords // of the blocks of this stream
	out   int64     // bytes given out
	dicts int64     // bytes of dictionaries allocated
	begun bool      // inside a stream
	err   error
}

func newXZReader(src byteSource) *xzReader {
	return &xzReader{src: &xzInput{byteSource: src}}
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		x.out += int64(n)
		if err == io.EOF {
			err = x.endBlock()
		}
		x.err = err
		if n > 0 {
			return n, err
		}
	}
	return 0, x.err
}

// next moves on to the next block, through the ends and beginnings of streams.
func (x *xzReader) next() error {
	if !x.begun {
		return x.beginStream()
	}
	size, err := x.src.mustByte()
	if err != nil {
		return err
	}
	if size == 0 {
		return x.endStream()
	}
	return x.beginBlock(size)
}

// beginStream reads padding and a stream header, or finds the end of the file.
func (x *xzReader) beginStream() error {
	var h [12]byte
	for {
		switch n, err := io.ReadFull(x.src, h[:4]); {
		case n == 0 && err == io.EOF && x.src.n > 0:
			return io.EOF
		case err != nil:
			return noEOF(err)
		}
		if x.src.n == 4 || h[0]|h[1]|h[2]|h[3] != 0 {
			break
		}
	}
	if _, err := io.ReadFull(x.src, h[4:]); err != nil {
		return noEOF(err)
	}
	if string(h[:6]) != xzMagic {
		return errXZTrailing
	}
	if h[6] != 0 || h[7]&0xf0 != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errors.New("xz: bad stream header")
	}
	x.check, x.begun, x.sums = h[7], true, newXZRecords()
	return nil
}

// beginBlock reads a block header, whose first byte is size.
func (x *xzReader) beginBlock(size byte) error {
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if _, err := io.ReadFull(x.src, h[1:]); err != nil {
		return noEOF(err)
	}
	body, sum := h[:len(h)-4], h[len(h)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errors.New("xz: bad block header checksum")
	}
	head, err := parseXZBlockHeader(body[1:])
	if err != nil {
		return err
	}
	sums, err := newXZCheck(x.check)
	if err != nil {
		return err
	}
	// A block cannot look back beyond its own beginning.
	if head.out >= 0 {
		head.dict = min(head.dict, max(head.out, lzma.MinDictCap))
	}
	// Each block has its own dictionary; many near-empty blocks must not cost
	// one each.
	x.dicts += head.dict
	if head.dict > maxWindow || x.dicts > maxWindow+8*x.out {
		return errXZMemory
	}
	start := x.src.n
	r, err := lzma.Reader2Config{DictCap: int(head.dict)}.NewReader2(x.src)
	if err != nil {
		return noEOF(err)
	}
	x.block = &xzBlock{r: r, head: head, sum: sums, start: start, headLen: int64(len(h))}
	return nil
}

// endBlock compares the finished block with its header and its check.
func (x *xzReader) endBlock() error {
	b := x.block
	x.block = nil
	packed := x.src.n - b.start
	if b.head.in >= 0 && b.head.in != packed || b.head.out >= 0 && b.head.out != b.n {
		return errors.New("xz: block is not of the size its header says")
	}
	if err := x.src.padding(packed); err != nil {
		return err
	}
	want := make([]byte, b.sum.Size())
	if _, err := io.ReadFull(x.src, want); err != nil {
		return noEOF(err)
	}
	got := b.sum.Sum(nil)
	if x.check != xzSHA256 {
		slices.Reverse(got) // the sums of hash/crc32 and crc64 are big-endian
	}
	if !bytes.Equal(got, want) {
		return errors.New("xz: block checksum differs")
	}
	x.sums.add(uint64(b.headLen+packed+int64(len(want))), uint64(b.n))
	return nil
}

// endStream reads the index, whose first byte is gone already, and the footer.
func (x *xzReader) endStream() error {
	x.begun = false
	start := x.src.n - 1
	x.src.sum = crc32.NewIEEE()
	x.src.sum.Write([]byte{0})
	if err := x.readIndex(); err != nil {
		return err
	}
	if err := x.src.padding(x.src.n - start); err != nil {
		return err
	}
	sum := x.src.sum.Sum32()
	x.src.sum = nil
	var f [16]byte // checksum of the index, and the footer
	indexLen := x.src.n + 4 - start
	if _, err := io.ReadFull(x.src, f[:]); err != nil {
		return noEOF(err)
	}
	le := binary.LittleEndian
	switch {
	case le.Uint32(f[:]) != sum:
		return errors.New("xz: index checksum differs")
	case string(f[14:]) != xzFooterMagic, le.Uint32(f[4:]) != crc32.ChecksumIEEE(f[8:14]):
		return errors.New("xz: bad stream footer")
	case (int64(le.Uint32(f[8:]))+1)*4 != indexLen, f[12] != 0, f[13] != x.check:
		return errors.New("xz: stream footer does not match the stream")
	}
	return nil
}

func (x *xzReader) readIndex() error {
	count, err := x.src.varint()
	if err != nil {
		return err
	}
	if count != x.sums.n {
		return fmt.Errorf("xz: index of %d blocks for a stream of %d", count, x.sums.n)
	}
	index := newXZRecords()
	for range count {
		packed, err := x.src.varint()
		if err != nil {
			return err
		}
		out, err := x.src.varint()
		if err != nil {
			return err
		}
		index.add(packed, out)
	}
	if !index.equal(x.sums) {
		return errors.New("xz: index does not match the blocks")
	}
	return nil
}

// xzBlock is a block being decoded.
type xzBlock struct {
	r       io.Reader
	head    xzBlockHeader
	sum     hash.Hash
	start   int64 // offset of its data
	headLen int64
	n       int64 // bytes decoded
}

func (b *xzBlock) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.sum.Write(p[:n])
	b.n += int64(n)
	return n, err
}

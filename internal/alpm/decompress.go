package alpm

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// compression is a file name's extension after ".pkg.tar": "", ".zst", ".xz",
// ".gz" or ".bz2".
type compression string

// describe names the compression in a message.
func (c compression) describe() string {
	if c == "" {
		return "a plain tar or no archive at all"
	}
	return "compressed as " + string(c)
}

// magicLen is how many bytes sniff wants to see.
const magicLen = 6

// sniff tells the compression by its magic bytes. Anything unknown is taken for
// a plain tar, which then proves itself or fails.
func sniff(head []byte) compression {
	for magic, c := range map[string]compression{
		"\x28\xb5\x2f\xfd": ".zst",
		"\xfd7zXZ\x00":     ".xz",
		"\x1f\x8b":         ".gz",
		"BZh":              ".bz2",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return c
		}
	}
	// zstd's skippable frames, which may come first.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return ".zst"
	}
	return ""
}

// byteSource is what every decompressor can read without buffering further, so
// that the end of its input is the end of the file.
type byteSource interface {
	io.Reader
	io.ByteReader
}

// open returns the decompressed stream and what frees its memory. The stream
// ends with io.EOF only where the compressed file does: several frames, members
// or streams in a row are one, and bytes that are none of them are an error.
func (c compression) open(src byteSource) (r io.Reader, free func(), err error) {
	nothing := func() {}
	switch c {
	case ".zst":
		z, err := openZstd(src)
		if err != nil {
			return nil, nothing, err
		}
		return z, z.Close, nil
	case ".xz":
		return newXZReader(src), nothing, nil
	case ".gz":
		z, err := gzip.NewReader(src)
		return z, nothing, err
	case ".bz2":
		return bzip2.NewReader(src), nothing, nil
	default:
		return src, nothing, nil
	}
}

// openZstd decodes in the caller's goroutine: the blocks decode faster than
// they can be hashed, and every block in flight costs memory.
func openZstd(src io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(src,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow),
		// This one bounds the window of single-segment frames.
		zstd.WithDecoderMaxMemory(maxWindow))
}

// unpacked is the decompressed archive: it counts, limits, and remembers how the
// stream ended.
type unpacked struct {
	r      io.Reader
	packed func() int64 // compressed bytes consumed so far
	most   int64
	ratio  int64
	n      int64
	err    error // sticky: io.EOF, a *Fault, or the decompressor's error
}

func (u *unpacked) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.r.Read(p)
	u.n += int64(n)
	if u.n > u.most {
		err = faultf(KindUnpackedSize, "", "archive unpacks to more than %d bytes", u.most)
	} else if u.n > ratioFloor && u.n/max(u.ratio, 1) > u.packed() {
		err = faultf(KindRatio, "", "archive unpacks to more than %d times its size", u.ratio)
	}
	if n > 0 && err == io.EOF {
		err = nil // the next Read says it, so that ended() means nothing was left
	}
	u.err = err
	return n, err
}

// ended reports whether somebody tried to read beyond the last byte.
func (u *unpacked) ended() bool { return u.err == io.EOF }

// failure explains how the stream broke, or returns nil when it did not.
func (u *unpacked) failure() error {
	switch {
	case u.err == nil || u.err == io.EOF:
		return nil
	case isFault(u.err):
		return u.err
	case errors.Is(u.err, zstd.ErrWindowSizeExceeded), errors.Is(u.err, zstd.ErrDecoderSizeExceeded):
		return faultf(KindCompressionWindow, "", "zstd window exceeds the %d MiB that pacman reads", maxWindow>>20)
	case errors.Is(u.err, errXZMemory):
		return faultf(KindCompressionWindow, "", "xz dictionary exceeds %d MiB", maxWindow>>20)
	case errors.Is(u.err, io.ErrUnexpectedEOF):
		return faultf(KindCompressionEnd, "", "compressed data is cut off, or followed by something else")
	case isTrailing(u.err):
		return faultf(KindCompressionEnd, "", "compressed data is followed by something else")
	default:
		return faultf(KindCompressionCorrupt, "", "compressed data is corrupt: %v", u.err)
	}
}

func isFault(err error) bool {
	_, ok := errors.AsType[*Fault](err)
	return ok
}

// isTrailing reports whether err is a decompressor's way of saying that what
// follows a complete frame, member or stream begins no other.
func isTrailing(err error) bool {
	return errors.Is(err, zstd.ErrMagicMismatch) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, errXZTrailing) ||
		errors.Is(err, bzip2.StructuralError("bad magic value in continuation file"))
}

package repo

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// splitFrames cuts a file of concatenated zstd frames into its frames without
// decompressing them (RFC 8878, section 3.1.1). Skippable frames are refused:
// this program writes none.
func splitFrames(b []byte) ([][]byte, error) {
	var frames [][]byte
	for len(b) > 0 {
		n, err := frameLen(b)
		if err != nil {
			return nil, fmt.Errorf("zstd frame %d: %w", len(frames), err)
		}
		frames, b = append(frames, b[:n:n]), b[n:]
	}
	return frames, nil
}

var errFrameCut = errors.New("cut short")

// frameLen is the length in bytes of the zstd frame at the start of b: header,
// blocks of a three-byte header each up to the last, optional checksum.
func frameLen(b []byte) (int, error) {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return 0, err
	}
	if h.Skippable {
		return 0, errors.New("skippable")
	}
	const raw, rle, compressed = 0, 1, 2
	for n := h.HeaderSize; ; {
		if len(b)-n < 3 {
			return 0, errFrameCut
		}
		block := uint32(b[n]) | uint32(binary.LittleEndian.Uint16(b[n+1:]))<<8
		last, kind, size := block&1 != 0, block>>1&3, int(block>>3)
		n += 3
		switch kind {
		case raw, compressed:
			n += size
		case rle:
			n++
		default:
			return 0, errors.New("reserved block type")
		}
		if last {
			if h.HasCheckSum {
				n += 4
			}
			if n > len(b) {
				return 0, errFrameCut
			}
			return n, nil
		}
	}
}

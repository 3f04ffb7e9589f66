package alpm

import (
	"crypto/sha256"
	"hash"
	"io"
)

const (
	chunkSize  = 128 << 10
	chunkCount = 8
)

// hasher computes SHA-256 in a goroutine of its own, because that costs more
// than everything else about a package. chunkCount buffers bound what is between
// it and whoever fills them.
type hasher struct {
	made int            // chunks there are
	free chan []byte    // those that are hashed, to be filled again
	work chan []byte    // chunks to hash; nil asks for the hash of those before
	done chan hash.Hash // answers nil
}

func newHasher() *hasher {
	h := &hasher{
		free: make(chan []byte, chunkCount),
		work: make(chan []byte, chunkCount),
		done: make(chan hash.Hash, 1),
	}
	go h.run()
	return h
}

// chunk returns a chunk to fill.
func (h *hasher) chunk() []byte {
	select {
	case chunk := <-h.free:
		return chunk
	default:
	}
	if h.made < chunkCount {
		h.made++
		return make([]byte, chunkSize)
	}
	return <-h.free
}

func (h *hasher) run() {
	sum := sha256.New()
	for chunk := range h.work {
		if chunk == nil {
			h.done <- sum
			sum = sha256.New()
			continue
		}
		sum.Write(chunk)
		h.free <- chunk[:cap(chunk)]
	}
}

// finish returns the hash of all chunks since the last finish.
func (h *hasher) finish() hash.Hash {
	h.work <- nil
	return <-h.done
}

// sum hashes all that is left of r. What fits into one chunk is hashed here:
// handing it over would take longer.
func (h *hasher) sum(r io.Reader) (sum [32]byte, err error) {
	chunk := h.chunk()
	n, err := fill(r, chunk)
	if err == io.EOF {
		h.free <- chunk
		return sha256.Sum256(chunk[:n]), nil
	}
	for err == nil {
		h.work <- chunk[:n]
		chunk = h.chunk()
		n, err = fill(r, chunk)
	}
	h.work <- chunk[:n]
	h.finish().Sum(sum[:0])
	if err == io.EOF {
		err = nil
	}
	return sum, err
}

// close ends the goroutine.
func (h *hasher) close() { close(h.work) }

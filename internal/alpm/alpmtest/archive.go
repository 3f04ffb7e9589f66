package alpmtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// tarRecord is what bsdtar pads an archive to.
const tarRecord = 10240

// write sends the finished file to w, buffering only where an edit needs the whole.
func (s *Spec) write(w io.Writer) error {
	if s.mapFile == nil {
		return s.writeCompressed(w)
	}
	var buf bytes.Buffer
	if err := s.writeCompressed(&buf); err != nil {
		return err
	}
	_, err := w.Write(s.mapFile(buf.Bytes()))
	return err
}

func (s *Spec) writeCompressed(w io.Writer) error {
	z, err := Compressor(w, s.ext)
	if err != nil {
		return err
	}
	if s.mapTar == nil {
		err = s.writeTar(z)
	} else {
		var buf bytes.Buffer
		if err = s.writeTar(&buf); err == nil {
			_, err = z.Write(s.mapTar(buf.Bytes()))
		}
	}
	if err != nil {
		return err
	}
	return z.Close()
}

// Compressor returns a writer for the compression that a package's extension
// names. An unknown one is written uncompressed.
func Compressor(w io.Writer, ext string) (io.WriteCloser, error) {
	switch ext {
	case ".pkg.tar.zst":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	case ".pkg.tar.gz":
		return gzip.NewWriter(w), nil
	case ".pkg.tar.xz":
		return xz.WriterConfig{DictCap: 1 << 20}.NewWriter(w)
	default:
		return nopCloser{w}, nil
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// writeTar writes all members, the end-of-archive and the padding.
func (s *Spec) writeTar(w io.Writer) error {
	count := &countingWriter{w: w}
	for _, m := range s.members() {
		if err := s.writeMember(count, m); err != nil {
			return fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	end := count.n + 1024
	end += (tarRecord - end%tarRecord) % tarRecord
	_, err := count.Write(make([]byte, end-count.n))
	return err
}

func (s *Spec) writeMember(w io.Writer, m Member) error {
	if m.Raw != nil {
		_, err := w.Write(m.Raw)
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(s.header(m)); err != nil {
		return err
	}
	if m.Type == '0' {
		if _, err := io.Copy(t, m.content()); err != nil {
			return err
		}
	}
	return t.Flush()
}

func (s *Spec) header(m Member) *tar.Header {
	h := &tar.Header{
		Name: m.Name, Typeflag: m.Type, Mode: m.Mode, Linkname: m.Link,
		Uid: m.UID, Gid: m.GID, Uname: "root", Gname: "root",
		ModTime: time.Unix(s.buildDate, 0), PAXRecords: m.PAX,
	}
	if m.Type == '0' {
		h.Size = m.size()
	}
	return h
}

// RawMember returns a ustar header block with these fields and nothing after
// it, for headers that no careful writer would make. The checksum is right.
func RawMember(name string, typeflag byte, size int64) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], fmt.Sprintf("%011o\x00", int64(BuildDate)))
	copy(h[148:], "        ")
	h[156] = typeflag
	copy(h[257:], "ustar\x0000root")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// randomReader gives the same n incompressible bytes each time.
func randomReader(n int64) io.Reader {
	seed := [32]byte{0: byte(n), 1: byte(n >> 8), 2: byte(n >> 16), 3: byte(n >> 24)}
	return io.LimitReader(rand.NewChaCha8(seed), n)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

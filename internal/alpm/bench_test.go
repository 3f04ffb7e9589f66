package alpm_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// BenchmarkReadPackage verifies packages from the page cache. MB/s counts the
// bytes of the package file.
func BenchmarkReadPackage(b *testing.B) {
	for _, c := range []struct {
		name string
		opts []alpmtest.Option
	}{
		{"zst/random/1GiB", []alpmtest.Option{alpmtest.Payload(1 << 30)}},
		{"zst/random/1MiB", []alpmtest.Option{alpmtest.Payload(1 << 20)}},
		{"zst/text/100MiB", []alpmtest.Option{longText()}},
		{"gz/random/64MiB", []alpmtest.Option{alpmtest.Payload(64 << 20), alpmtest.Ext(".pkg.tar.gz")}},
		{"xz/random/16MiB", []alpmtest.Option{alpmtest.Payload(16 << 20), alpmtest.Ext(".pkg.tar.xz")}},
		{"tar/random/256MiB", []alpmtest.Option{alpmtest.Payload(256 << 20), alpmtest.Ext(".pkg.tar")}},
		{"zst/members/20000", []alpmtest.Option{manyFiles(20000)}},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkRead(b, c.opts) })
	}
}

func benchmarkRead(b *testing.B, opts []alpmtest.Option) {
	path := filepath.Join(b.TempDir(), "package")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	name, err := alpmtest.Write(f, "foo", "1-1", opts...)
	if err != nil {
		b.Fatal(err)
	}
	opts = nil
	debug.FreeOSMemory()
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		lim := alpm.DefaultLimits()
		lim.Ratio = 1 << 20
		p, err := alpm.ReadPackage(f, name, lim)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(max(p.Size, p.Info.Size))
	}
	b.ReportMetric(float64(heapBytes())/(1<<20), "heap-MiB")
}

// heapBytes is the memory that the heap holds from the system.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

func longText() alpmtest.Option {
	const line = "It is a truth universally acknowledged, that a package in possession of a .MTREE must agree with it.\n"
	return func(s *alpmtest.Spec) {
		alpmtest.With(alpmtest.File("usr/share/foo/text", strings.Repeat(line, 1<<20)))(s)
	}
}

func manyFiles(n int) alpmtest.Option {
	var members []alpmtest.Member
	for i := range n {
		members = append(members, alpmtest.File("usr/lib/foo/"+"d"+strings.Repeat("d", i%60)+"/file"+strconv.Itoa(i), "content"))
	}
	return alpmtest.With(members...)
}

// BenchmarkReadDatabase reads a database of 15,000 packages.
func BenchmarkReadDatabase(b *testing.B) {
	db := database(b, 15000)
	b.SetBytes(int64(len(db)))
	for b.Loop() {
		n := 0
		for _, err := range alpm.ReadDatabase(bytes.NewReader(db)) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 15000 {
			b.Fatal("read", n)
		}
	}
}

func BenchmarkAppendMembers(b *testing.B) {
	p := mustRead(b, manyFiles(100))
	e, files := p.Entry(), alpm.AppendFiles(nil, p.Files)
	var buf []byte
	for b.Loop() {
		buf = alpm.AppendMembers(buf[:0], e, files)
	}
}

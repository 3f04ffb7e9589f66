package alpm_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/ulikunitz/xz"

	"serene/internal/alpm"
)

// FuzzXZ holds the container to the module's own: what it accepts means the same
// there. Checksums of block headers are repaired, so that changes get past them.
func FuzzXZ(f *testing.F) {
	for _, config := range []xz.WriterConfig{
		{DictCap: 4096}, {DictCap: 4096, BlockSize: 1000}, {DictCap: 4096, CheckSum: xz.CRC32}, {DictCap: 4096, NoCheckSum: true}, {DictCap: 4096, CheckSum: xz.SHA256},
	} {
		var buf bytes.Buffer
		w, err := config.NewWriter(&buf)
		if err != nil {
			f.Fatal(err)
		}
		w.Write(bytes.Repeat([]byte("It is a truth universally acknowledged. "), 100))
		w.Close()
		f.Add(buf.Bytes())
		f.Add(append(buf.Bytes(), append(make([]byte, 8), buf.Bytes()...)...))
	}
	const most = 1 << 20
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 13 {
			if n := 12 + (int(b[12])+1)*4; n <= len(b) && b[12] > 0 {
				fixXZHeader(b[12:n])
			}
		}
		got, err := io.ReadAll(io.LimitReader(alpm.NewXZReader(b), most))
		if err != nil || len(got) == most {
			return
		}
		r, err := xz.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("accepted, but the module says %v", err)
		}
		want, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes; the module reads %d, %v", len(got), len(want), err)
		}
	})
}

package receive

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
)

// What comes behind an open or a close waits for its answer; what comes behind a
// write does not.
func TestLockstep(t *testing.T) {
	const sftpWrite = 6
	answer := []byte{0, 0, 0, 1, 101}
	for kind, waits := range map[byte]bool{sftpOpen: true, sftpOpenDir: true, sftpClose: true, sftpWrite: false} {
		synctest.Test(t, func(t *testing.T) {
			first, second := packet(kind, 1, "handle"), packet(sftpWrite, 2, "handle")
			l := newLockstep(bytes.NewReader(append(bytes.Clone(first), second...)), io.Discard)
			if got := make([]byte, len(first)); !readWhole(l, got) || !bytes.Equal(got, first) {
				t.Fatalf("packet %d: %x, want %x", kind, got, first)
			}
			passed := false
			go func() {
				got := make([]byte, len(second))
				passed = readWhole(l, got) && bytes.Equal(got, second)
			}()
			synctest.Wait()
			if passed == waits {
				t.Errorf("packet %d: the next one passed: %t", kind, passed)
			}
			if _, err := l.Write(answer); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if !passed {
				t.Errorf("packet %d: the next one did not pass", kind)
			}
		})
	}
}

func readWhole(r io.Reader, b []byte) bool {
	_, err := io.ReadFull(r, b)
	return err == nil
}

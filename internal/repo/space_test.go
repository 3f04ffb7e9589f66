package repo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"serene/internal/alpm/alpmtest"
)

// mount mounts a file system for the length of the test. That takes root, as
// containers and CI give it.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount on %s (as root?): %v", target, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func noise(t *testing.T, n int) alpmtest.Option {
	t.Helper()
	data := make([]byte, n)
	rand.Read(data)
	return alpmtest.With(alpmtest.File("usr/share/noise", string(data)))
}

// The disk fills up, at every point on the way of a change: what was published
// stays, the client is told there is no space or gets its answer once there is.
func TestNoSpace(t *testing.T) {
	r := newTestRepo(t)
	r.w.Close()
	r.w, r.dir = nil, t.TempDir()
	mount(t, "tmpfs", r.dir, "tmpfs", 0, "size=4m")
	r.open()
	r.push(build("foo", "1-1"))
	for free := 0; free < 640; free += 16 {
		version := fmt.Sprintf("2-%d", free+1)
		fill(t, r.dir, int64(free)<<10)
		id, err := r.submit(TxOptions{}, nil, build("foo", version, noise(t, 64<<10)))
		if err != nil && !errors.Is(noSpace(err), ErrTooLarge) {
			t.Errorf("%d KiB free: %v", free, err)
		}
		_, failed := r.w.Refresh(context.Background())
		before := r.published("serene", "x86_64")
		if err := os.Remove(filepath.Join(r.dir, "filler")); err != nil {
			t.Fatal(err)
		}
		if r.refresh(); err == nil {
			if o := r.outcome(id); o.Error != "" && o.Class != "too-large" {
				t.Errorf("%d KiB free: outcome %+v", free, o)
			}
		}
		r.want("serene", "x86_64", r.published("serene", "x86_64")[0]) // one foo, whichever
		if failed == nil && err == nil && before[0] != "foo "+version {
			t.Errorf("%d KiB free: holds %v, and no error", free, before)
		}
		if free%128 == 0 {
			r.open()
		}
		r.wantSound()
		if _, err := r.w.Collect(farFuture(), Keep{}); err != nil {
			t.Fatal(err)
		}
	}
	r.push(build("foo", "3-1"))
	r.want("serene", "x86_64", "foo 3-1")
}

// fill leaves about free bytes of dir's file system.
func fill(t *testing.T, dir string, free int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if n := int64(st.Bavail)*st.Bsize - free; n > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			t.Fatal(err)
		}
	}
}

// The pool cannot be written: nothing is published, nothing lost, and it goes on
// when it can.
func TestReadOnlyPool(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	pool := r.store.pool("serene")
	mount(t, pool, pool, "", unix.MS_BIND, "")
	readOnly := func(flag uintptr) {
		if err := unix.Mount("", pool, "", unix.MS_REMOUNT|unix.MS_BIND|flag, ""); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(unix.MS_RDONLY)
	id, err := r.submit(TxOptions{}, nil, build("foo", "1-2"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.w.Refresh(context.Background()); !errors.Is(err, unix.EROFS) || n != 0 {
		t.Errorf("refreshed %d, %v", n, err)
	}
	r.open()
	r.want("serene", "x86_64", "foo 1-1")
	r.wantSound()
	readOnly(0)
	r.refresh()
	wantLines(t, r.outcome(id), "published serene/x86_64 foo 1-2 gen 3")
}

// A size that would break the reserve is refused before a byte is read.
func TestMinFree(t *testing.T) {
	r := newTestRepo(t)
	r.store.opt.MinFree = 1 << 20
	var st unix.Statfs_t
	if err := unix.Statfs(r.dir, &st); err != nil {
		t.Fatal(err)
	}
	tx, err := r.store.Begin(Actor{}, TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	_, err = tx.Add(t.Context(), "foo-1-1-any.pkg.tar.zst", int64(st.Bavail)*st.Bsize, noReader{t})
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "min_free") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(tx.dir, "foo-1-1-any.pkg.tar.zst")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

type noReader struct{ t *testing.T }

func (r noReader) Read([]byte) (int, error) {
	r.t.Error("a byte was read")
	return 0, errors.New("no")
}

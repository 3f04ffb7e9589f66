package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"serene/internal/config"
)

// disk is a small file system with the state of a daemon that has published
// early-1-1 and stopped.
type disk struct {
	*shelf
	config *config.Config
	early  []byte
}

// newDisk mounts it, which takes root, as containers and CI give it.
func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount on %s (as root?): %v", dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d := &disk{shelf: newShelfIn(t, dir)}
	var err error
	if d.config, err = config.Load("", dir); err != nil {
		t.Fatal(err)
	}
	d.config.Repos = []config.Repo{{Name: "serene", Arches: []config.Arch{"x86_64"}}}
	d.early, _ = d.publish("early", "1-1")
	d.w.Close()
	first := runDaemon(t, d.config) // it makes a certificate
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *disk) remount(flags uintptr) {
	d.t.Helper()
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

// fill leaves no byte free, and returns what makes room again.
func (d *disk) fill() (empty func()) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			d.t.Fatal(err)
		}
	}
}

// serves asks run for what was published before the disk took no more.
func (d *disk) serves(run *running) {
	d.t.Helper()
	for _, path := range []string{"/x86_64/serene.db", "/key.asc"} {
		if code, _ := get(d.t, "http://"+run.addrs["http"]+path); code != http.StatusOK {
			d.t.Errorf("%s: status %d", path, code)
		}
	}
	if code, body := get(d.t, "http://"+run.addrs["http"]+"/x86_64/early-1-1-x86_64.pkg.tar.zst"); code != http.StatusOK || !bytes.Equal(body, d.early) {
		d.t.Errorf("status %d with %d bytes", code, len(body))
	}
}

// goesOn publishes once there is room, without a restart.
func (d *disk) goesOn(run *running) {
	d.t.Helper()
	late, _ := d.submit("late", "1-1")
	body := eventually(d.t, http.DefaultClient, "http://"+run.addrs["http"]+"/x86_64/late-1-1-x86_64.pkg.tar.zst")
	if !bytes.Equal(body, late) {
		d.t.Errorf("late: %d bytes", len(body))
	}
	eventually(d.t, http.DefaultClient, "http://"+run.addrs["admin"]+"/healthz")
}

// A start on a disk that is read only serves what is published and says that it
// can do no more, until it can.
func TestStartReadOnly(t *testing.T) {
	d := newDisk(t)
	d.remount(unix.MS_RDONLY)
	run := runDaemon(t, d.config)
	d.serves(run)
	for code := 0; code != http.StatusServiceUnavailable; {
		code, _ = get(t, "http://"+run.addrs["admin"]+"/healthz")
	}
	d.remount(0)
	d.goesOn(run)
}

// A start on a full disk has nothing to write that is not there.
func TestStartFull(t *testing.T) {
	d := newDisk(t)
	empty := d.fill()
	run := runDaemon(t, d.config)
	d.serves(run)
	empty()
	d.goesOn(run)
}

func get(t testing.TB, url string) (code int, body []byte) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", url, err))
	}
	return resp.StatusCode, body
}

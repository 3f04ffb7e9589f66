package hub_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"serene/internal/job"
	"serene/internal/job/hub"
)

// natsServer starts the real program, on a port of its choice.
func natsServer(t *testing.T) (url string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", dir, "--ports_file_dir", dir)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	return portOf(t, dir)
}

// portOf waits for the file in which the server says where it listens.
func portOf(t *testing.T, dir string) string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		var ports struct {
			Nats []string `json:"nats"`
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
		if len(files) == 1 {
			data, err := os.ReadFile(files[0])
			if err == nil && json.Unmarshal(data, &ports) == nil && len(ports.Nats) > 0 {
				return ports.Nats[0]
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nats-server does not say where it listens")
		}
	}
}

// TestExternal has the same life of a job through a cluster outside.
func TestExternal(t *testing.T) {
	url := natsServer(t)
	w := newWorld(t, func(o *hub.Options) { o.URL = url })
	if w.hub.Embedded() {
		t.Error("it has a server of its own")
	}
	id := w.one("yay")
	const key = "SHA256:b1"
	nc, err := job.ConnectURL("b1", key, url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	bench, err := job.NewBench(nc, key, "b1")
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{bench, w, key, job.Builder{ID: "b1", Name: "b1", Instance: "1", Arches: []string{arch}}}
	b.beat()
	b.needs(b.take(), "go-dep")
	w.stop()
	w.start() // the cluster has the queue meanwhile
	b.beat()
	b.done(b.take())
	task := b.take()
	b.print(task, "hello\n")
	b.done(task)
	w.want(id, job.Done, "", "")
}

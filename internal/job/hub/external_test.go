package hub_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"serene/internal/job"
	"serene/internal/job/hub"
)

// natsProgram builds the real program.
func natsProgram(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	return path
}

// natsServer starts it, on a port of its choice. It runs until stop is called
// or the test is over.
func natsServer(t *testing.T, program string, more ...string) (url string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", dir, "--ports_file_dir", dir}
	cmd := exec.Command(program, append(args, more...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	t.Cleanup(stop)
	return portOf(t, dir), stop
}

// natsCluster starts three that are one.
func natsCluster(t *testing.T) (urls []string, stop []func()) {
	t.Helper()
	program := natsProgram(t)
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, "nats://"+l.Addr().String())
		l.Close() // each has to know the others' before it starts
	}
	for i, route := range routes {
		url, end := natsServer(t, program, "--name", fmt.Sprint("n", i),
			"--cluster_name", "test", "--cluster", route, "--routes", strings.Join(routes, ","))
		urls, stop = append(urls, url), append(stop, end)
	}
	return urls, stop
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

// externalBuilder is a builder that needs no hub to reach the queue.
func (w *world) externalBuilder(name string) *builder {
	w.Helper()
	key := "SHA256:" + name
	nc, err := job.ConnectURL(name, key, w.opt.URL)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	bench, err := job.NewBench(nc, key, name)
	if err != nil {
		w.Fatal(err)
	}
	b := &builder{bench, w, key, job.Builder{ID: name, Name: name, Instance: "1", Arches: []string{arch}}}
	b.beat()
	return b
}

// TestExternal has the same life of a job through a server outside.
func TestExternal(t *testing.T) {
	url, _ := natsServer(t, natsProgram(t))
	w := newWorld(t, func(o *hub.Options) { o.URL = url })
	if w.hub.Embedded() {
		t.Error("it has a server of its own")
	}
	id := w.one("yay")
	b := w.externalBuilder("b1")
	b.needs(b.take(), "go-dep")
	w.stop()
	w.start() // the cluster has the queue meanwhile
	b.beat()
	b.done(b.take())
	task := b.take()
	b.print(task, "hello\n")
	b.done(task)
	w.want(id, job.Done, "", "")

	// One server keeps one copy, and says so at once.
	o := w.opt
	o.State, o.Replicas = t.TempDir(), 3
	if _, err := hub.Open(o); err == nil || err.Error() != "open the job queue: queue.replicas = 3: a server that is in no cluster keeps 1" {
		t.Errorf("error %v", err)
	}
}

// TestCluster loses a server of three, and nothing of the queue.
func TestCluster(t *testing.T) {
	urls, stop := natsCluster(t)
	w := newWorld(t, func(o *hub.Options) { o.URL, o.Replicas = strings.Join(urls, ","), 3 })
	w.submit("a", "b")
	b := w.externalBuilder("b1")
	b.done(b.take())
	stop[0]()
	b.done(b.take())
	id := w.one("c")
	b.done(b.take())
	w.want(id, job.Done, "", "")
}

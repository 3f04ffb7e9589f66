package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
	"serene/internal/build"
	"serene/internal/job"
	"serene/internal/job/hub"
	"serene/internal/source"
	"serene/internal/source/aurtest"
)

const (
	arch = "x86_64"
	key  = "SHA256:builder/key+"
)

// world has a real hub and a stand-in AUR. Its sandbox makes packages out of
// nothing, and its door takes them in.
type world struct {
	*testing.T
	state  string
	hub    *hub.Hub
	client *job.Client
	dir    *job.Dir
	aur    *aurtest.Server
	door   *fakeDoor
	box    *fakeBox
	stop   context.CancelFunc
	ended  chan struct{}
}

func newWorld(t *testing.T, packages ...aurtest.Package) *world {
	t.Helper()
	w := &world{T: t, state: t.TempDir(), aur: aurtest.New(t, packages...)}
	w.door = &fakeDoor{published: map[string][]byte{}}
	w.box = &fakeBox{run: make(map[string]func(context.Context, io.Writer) error)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var err error
	if w.hub, err = hub.Open(hub.Options{State: w.state, Arches: []string{arch}, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.hub.Close() })
	if w.client, err = w.hub.Client(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if w.dir, err = job.OpenDir(w.state); err != nil {
		t.Fatal(err)
	}
	w.start(w.state, log)
	return w
}

// start starts a worker, which is stopped at the end.
func (w *world) start(state string, log *slog.Logger) {
	w.Helper()
	worker, err := Open(Options{
		State: state, Arch: arch, Key: key, Name: "b1", Hub: w.door, Log: log,
		Queue: func() (*nats.Conn, error) {
			return job.Connect("b1", key, func() (net.Conn, error) { return w.hub.DialWork(key, nil) })
		},
		AUR:     &source.AUR{URL: w.aur.URL},
		Fetcher: &source.Fetcher{Cache: filepath.Join(state, "sources")},
		Prepare: func(context.Context, string) (Sandbox, error) { return w.box, nil },
		Limits:  build.DefaultLimits(),
		CCache:  true,
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan struct{})
	ended := w.ended
	go func() {
		defer close(ended)
		if err := worker.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
	w.Cleanup(func() { cancel(); <-ended })
}

func (w *world) submit(s job.Spec) job.ID {
	w.Helper()
	if s.ID == "" {
		s.ID = job.NewID(time.Now())
	}
	s.Repo, s.Arch = "serene", arch
	all, err := w.client.Submit(w.Context(), job.Submission{By: job.Asker{Key: "SHA256:dev"}, Jobs: []job.Spec{s}})
	if err != nil {
		w.Fatal(err)
	}
	return all[0].ID
}

func (w *world) build(base string) job.ID {
	w.Helper()
	return w.submit(job.Spec{Base: base, Source: job.Source{Kind: job.SourceAUR}})
}

// over waits until a job is over, and returns it and its log.
func (w *world) over(id job.ID) (*job.Record, string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	var log bytes.Buffer
	r, err := w.dir.Follow(ctx, id, &log)
	if err != nil {
		w.Fatalf("%v; it is %+v\n%s", err, r, log.String())
	}
	return r, log.String()
}

// until waits for the job to be as wanted.
func (w *world) until(id job.ID, want func(*job.Record) bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		r, err := w.dir.Read(id)
		if err != nil {
			w.Fatal(err)
		}
		if want(r) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("waited in vain: %+v", r)
		}
	}
}

// want fails the test unless the job ends so.
func (w *world) want(id job.ID, state job.State, cause, reason string) string {
	w.Helper()
	r, log := w.over(id)
	if r.State != state || r.Cause != cause || !strings.Contains(r.Reason, reason) {
		w.Errorf("%s, %q, %q; want %s, %q, %q\n%s", r.State, r.Cause, r.Reason, state, cause, reason, log)
	}
	return log
}

// fakeDoor is the hub's SSH server: a repository that takes everything.
type fakeDoor struct {
	mu        sync.Mutex
	published map[string][]byte // guarded by mu: by file name
	entries   []*alpm.Entry     // guarded by mu
	pushes    [][]string        // guarded by mu
	refuse    func() error      // guarded by mu: of push, if not nil
}

func (d *fakeDoor) Run(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch argv[0] {
	case "key":
		_, err := io.WriteString(out, "the key")
		return err
	case "push":
		return d.push(argv, in, out)
	case "pull":
		return d.pull(argv, out)
	}
	return errors.New("no such verb")
}

func (d *fakeDoor) push(argv []string, in io.Reader, out io.Writer) error {
	if d.refuse != nil {
		if err := d.refuse(); err != nil {
			return err
		}
	}
	d.pushes = append(d.pushes, argv)
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		d.add(h.Name, data)
		fmt.Fprintln(out, "published", h.Name)
	}
}

// forget has nothing be published.
func (d *fakeDoor) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = nil
}

// add publishes a package.
func (d *fakeDoor) add(file string, data []byte) {
	p, err := alpm.ReadPackage(bytes.NewReader(data), file, alpm.DefaultLimits())
	if err != nil {
		panic(err)
	}
	d.published[file] = data
	d.published[file+".sig"] = []byte("signature")
	d.entries = append(d.entries, p.Entry())
}

func (d *fakeDoor) pull(argv []string, out io.Writer) error {
	path := argv[len(argv)-1]
	switch {
	case strings.HasSuffix(path, ".db.sig"):
		_, err := io.WriteString(out, "signature")
		return err
	case strings.HasSuffix(path, ".db"):
		var b []byte
		for _, e := range d.entries {
			b = alpm.AppendMembers(b, e, nil)
		}
		_, err := out.Write(append(b, alpm.EndOfArchive()...))
		return err
	}
	t := tar.NewWriter(out)
	for _, name := range argv[6:] { // pull --tar --repo R --arch A NAME…
		for _, e := range d.entries {
			if e.Name != name {
				continue
			}
			for _, file := range []string{e.FileName, e.FileName + ".sig"} {
				data := d.published[file]
				t.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(data))})
				t.Write(data)
			}
		}
	}
	return t.Close()
}

// fakeBox makes an empty package for each of a recipe's, unless the test says
// what it does for a base.
type fakeBox struct {
	mu      sync.Mutex
	run     map[string]func(context.Context, io.Writer) error // guarded by mu
	recipes []build.Recipe                                    // guarded by mu
	repos   []string                                          // guarded by mu: what lay in LocalRepo
	version string                                            // guarded by mu: instead of the recipe's
	free    func() int64                                      // guarded by mu: not known if nil
	dropped int                                               // guarded by mu: how often downloads were
	volumes map[string]time.Time                              // guarded by mu: when each was made
}

func (b *fakeBox) DropDownloads() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped++
	return nil
}

func (b *fakeBox) Ready(context.Context) error { return nil }

func (b *fakeBox) SweepCaches(_ context.Context, keep func(string, time.Time) bool) (removed int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, made := range b.volumes {
		if !keep(name, made) {
			delete(b.volumes, name)
			removed++
		}
	}
	return removed, nil
}

func (b *fakeBox) Free() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free == nil {
		return -1
	}
	return b.free()
}

func (b *fakeBox) Run(ctx context.Context, r build.Recipe, log io.Writer, phase func(string)) (*build.Result, error) {
	b.mu.Lock()
	do := b.run[r.Base]
	b.recipes = append(b.recipes, r)
	files, _ := filepath.Glob(filepath.Join(r.LocalRepo, "*"))
	for _, f := range files {
		b.repos = append(b.repos, filepath.Base(f))
	}
	b.mu.Unlock()
	phase("build")
	fmt.Fprintln(log, "==> [build] makepkg")
	if do != nil {
		if err := do(ctx, log); err != nil {
			return nil, err
		}
	}
	return b.packages(r)
}

func (b *fakeBox) packages(r build.Recipe) (*build.Result, error) {
	text, err := os.ReadFile(filepath.Join(r.Tree, ".SRCINFO"))
	if err != nil {
		return nil, err
	}
	info, err := alpm.ParseSrcInfo(text)
	if err != nil {
		return nil, err
	}
	version := string(info.FullVersion())
	if b.version != "" {
		version = b.version
	}
	res := &build.Result{Image: "sha256:image"}
	for _, name := range r.Packages {
		data, file := alpmtest.Package(name, version, alpmtest.Base(r.Base))
		if err := os.WriteFile(filepath.Join(r.Out, file), data, 0o644); err != nil {
			return nil, err
		}
		p, err := alpm.ReadPackage(bytes.NewReader(data), file, alpm.DefaultLimits())
		if err != nil {
			return nil, err
		}
		res.Packages = append(res.Packages, p)
	}
	return res, nil
}

func (b *fakeBox) SrcInfo(_ context.Context, r build.Recipe, _ io.Writer) ([]byte, error) {
	return []byte("pkgbase = " + r.Base + "\n\tpkgver = 1\n\tpkgrel = 1\n\tarch = x86_64\n\npkgname = " + r.Base + "\n"), nil
}

// on has the sandbox do something for a base before its packages are there.
func (b *fakeBox) on(base string, do func(context.Context, io.Writer) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run[base] = do
}

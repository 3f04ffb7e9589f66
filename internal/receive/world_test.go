package receive

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm/alpmtest"
	"serene/internal/repo"
)

// world is a state directory with both sides at work on it, and the verbs in
// front of them.
type world struct {
	*Receiver
	t     testing.TB
	state string
	log   bytes.Buffer
}

// newWorld has the repositories serene and testing. The writer works until
// the test ends, if there is one.
func newWorld(t testing.TB, writer bool) *world {
	t.Helper()
	w := &world{t: t, state: t.TempDir()}
	store, err := repo.Open(w.state, []repo.Spec{
		{Name: "serene", Arches: []string{"x86_64", "aarch64"}},
		{Name: "testing", Arches: []string{"x86_64"}},
	}, repo.Options{MaxPackage: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	w.Receiver = New(Options{
		Store:       store,
		Log:         slog.New(slog.NewTextHandler(&w.log, nil)),
		Version:     "1.2.3",
		URL:         "https://repo.example:8443",
		MaxPackage:  1 << 20,
		RateDir:     t.TempDir(),
		PartialDir:  filepath.Join(w.state, "partial"),
		PublishWait: 20 * time.Second,
	})
	if writer {
		w.startWriter(store)
	}
	return w
}

func (w *world) startWriter(store *repo.Store) {
	w.t.Helper()
	signer, _, err := repo.LoadOrCreateSigner(filepath.Join(w.state, "keys", "signing.asc"), nil, "serene <serene@example>")
	if err != nil {
		w.t.Fatal(err)
	}
	writer, err := repo.OpenWriter(store, signer, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := writer.Refresh(context.Background()); err != nil {
					w.t.Errorf("refresh: %v", err)
				}
			case <-stop:
				return
			}
		}
	}()
	w.t.Cleanup(func() {
		close(stop)
		<-stopped
		writer.Close()
	})
}

// result is what a verb came to.
type result struct {
	code     int
	out, err string
}

// as runs a verb with the rights of a forced command.
func (w *world) as(rights, stdin string, argv ...string) result {
	w.t.Helper()
	return w.run(context.Background(), mustRights(w.t, "serene-receive "+rights), strings.NewReader(stdin), argv...)
}

// do runs a verb with all rights.
func (w *world) do(stdin string, argv ...string) result {
	w.t.Helper()
	return w.as("", stdin, argv...)
}

func (w *world) run(ctx context.Context, rights Rights, stdin io.Reader, argv ...string) result {
	var out, err bytes.Buffer
	by := Caller{Key: "SHA256:abc", Comment: "ci@example", Remote: "127.0.0.1:1", Rights: rights}
	code := w.Run(ctx, by, argv, Streams{In: stdin, Out: &out, Err: &err})
	return result{code, out.String(), err.String()}
}

// must fails the test unless the verb was done.
func (w *world) must(r result) result {
	w.t.Helper()
	if r.code != exitOK {
		w.t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	return r
}

// want fails the test unless the verb ended with this code and this one line.
func (w *world) want(r result, code int, line string) {
	w.t.Helper()
	if r.code != code || r.err != line+"\n" {
		w.t.Errorf("exit code %d: %swant %d: %s", r.code, r.err, code, line)
	}
	if r.out != "" {
		w.t.Errorf("printed %q", r.out)
	}
}

// push publishes a package made for the test.
func (w *world) push(name, version string, opts ...alpmtest.Option) {
	w.t.Helper()
	data, file := alpmtest.Package(name, version, opts...)
	w.must(w.do(string(data), "push", file))
}

// empty fails the test unless nothing is left of uploads, or soon will be: a
// writer tidies up after it has answered.
func (w *world) empty() {
	w.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		left := append(w.entries("staging"), w.entries("inbox")...)
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Errorf("left behind: %s", left)
			return
		}
	}
}

func (w *world) entries(dir string) (names []string) {
	w.t.Helper()
	left, err := os.ReadDir(filepath.Join(w.state, dir))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range left {
		names = append(names, dir+"/"+e.Name())
	}
	return names
}

// tarOf makes a tar; files are name, content, name, content, …
func tarOf(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		hdr := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

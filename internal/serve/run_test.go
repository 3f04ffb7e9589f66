package serve

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/alpm/alpmtest"
	"serene/internal/config"
	"serene/internal/daemon"
	"serene/internal/repo"
)

// journal is a log handler that hands "listening" and "ready" on.
type journal struct {
	slog.Handler
	addrs map[string]string // by listener; complete when ready is closed
	ready chan struct{}
}

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "listening":
		attrs := map[string]string{}
		r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.String(); return true })
		j.addrs[attrs["name"]] = attrs["addr"]
	case "ready":
		close(j.ready)
	}
	return nil
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

// running is a daemon inside the test.
type running struct {
	*journal
	stop  context.CancelFunc
	ended chan error
}

// runDaemon starts Run on ports of its own choice and waits until it is ready.
func runDaemon(t *testing.T, c *config.Config) *running {
	t.Helper()
	c.Serve.Listen, c.Serve.HTTPListen, c.Serve.AdminListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	d := &running{journal: &journal{addrs: map[string]string{}, ready: make(chan struct{})}, ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	t.Cleanup(stop)
	go func() {
		d.ended <- Run(ctx, &daemon.Process{Name: "test", Config: c, Log: slog.New(d.journal)})
	}()
	select {
	case <-d.ready:
	case err := <-d.ended:
		t.Fatal(err)
	}
	return d
}

// TestRun publishes what lay in the inbox before the start and what comes
// after, and serves it on every listener.
func TestRun(t *testing.T) {
	s := newShelf(t)
	s.submit("early", "1-1")
	s.w.Close()
	c, err := config.Load("", s.dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Repos = []config.Repo{{Name: "serene", Arches: []config.Arch{"x86_64"}}}
	d := runDaemon(t, c)
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable: %d, %v", dumpable, err)
	}

	s.submit("late", "1-1")
	certFile, _ := selfSignedFiles(tlsDir(c))
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, name := range []string{"early", "late"} {
		for _, base := range []string{"https://" + d.addrs["https"], "http://" + d.addrs["http"]} {
			body := eventually(t, client, base+"/x86_64/"+name+"-1-1-x86_64.pkg.tar.zst")
			if want, _ := alpmtest.Package(name, "1-1"); !bytes.Equal(body, want) {
				t.Errorf("%s from %s: %d bytes", name, base, len(body))
			}
		}
	}
	resp, err := client.Get("https://" + d.addrs["https"] + "/serene/x86_64/serene.db")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.HasSuffix(resp.Request.URL.Path, "/serene.db") {
		t.Errorf("database: %s over %s at %s", resp.Status, resp.Proto, resp.Request.URL)
	}
	eventually(t, client, "http://"+d.addrs["admin"]+"/metrics")

	if err := Run(t.Context(), &daemon.Process{Config: c, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, repo.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	d.stop()
	if err := <-d.ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// eventually asks until the answer is 200, and returns it.
func eventually(t testing.TB, client *http.Client, url string) []byte {
	t.Helper()
	for {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			return body
		}
	}
}

func TestRunRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*config.Config)
		want  string
	}{
		{"passphrase", func(c *config.Config) { c.Serve.SigningKeyPassphraseFile = "/nonexistent" }, "read passphrase: "},
		{"signing key", func(c *config.Config) { c.Serve.SigningKey = c.State }, "signing key"},
		{"signing key elsewhere", func(c *config.Config) { c.Serve.SigningKey = c.State + "/elsewhere" }, `/elsewhere": accepts a file that is there`},
		{"certificate", func(c *config.Config) { c.Serve.TLSCert, c.Serve.TLSKey = "/nonexistent", "/nonexistent" }, "serve.tls_cert = \"/nonexistent\", "},
		{"address", func(c *config.Config) { c.Serve.AdminListen = "192.0.2.1:0" }, "listen for admin: "},
	} {
		c := configured(t)
		c.Serve.Listen, c.Serve.AdminListen = "127.0.0.1:0", ""
		test.spoil(c)
		err := Run(t.Context(), &daemon.Process{Config: c, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s…", test.name, err, test.want)
		}
	}
}

func TestPassphrase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(file, []byte("correct horse\r\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readPassphrase(file); err != nil || string(got) != "correct horse" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNeedRestart(t *testing.T) {
	was, is := configured(t), configured(t)
	is.State = was.State
	is.Serve.SigningKey = was.Serve.SigningKey
	is.Serve.Debounce++
	if got := needRestart(was, is); len(got) > 0 {
		t.Errorf("for a new debounce: %v", got)
	}
	is.Serve.Listen = ":1"
	is.Repos = []config.Repo{{Name: "other"}}
	if got := fmt.Sprint(needRestart(was, is)); got != "[repo serve.listen]" {
		t.Errorf("got %v", got)
	}
}

// pipes is a listener whose connections are in memory, so that a test's clock
// rules over them.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// dial asks for a path and returns the connection with the answer unread.
func (p *pipes) dial(t *testing.T, path string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	p.conns <- server
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return client
}

// bodySize is larger than any number of chunks that fit in a minute's worth of
// the slow reader below.
const bodySize = 40 * chunkSize

// slowSite serves bodySize bytes, at /copy as over TLS, until stop is called.
func slowSite(t *testing.T) (p *pipes, stop func()) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, make([]byte, bodySize), 0o600); err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		out := newResponse(w, r)
		out.copying = r.URL.Path == "/copy"
		http.ServeContent(out, r, "", time.Time{}, f)
	})
	p = newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(ctx, newHTTPServer(handler, nil, slog.New(slog.DiscardHandler)), p) }()
	return p, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// take reads the answer in steps, resting before each, and returns how much of
// the body came.
func take(conn net.Conn, step int64, rest time.Duration) (int64, error) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	var total int64
	for {
		time.Sleep(rest)
		n, err := io.CopyN(io.Discard, resp.Body, step)
		total += n
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func TestSlowClientGetsAll(t *testing.T) {
	for _, path := range []string{"/", "/copy"} {
		synctest.Test(t, func(t *testing.T) {
			p, stop := slowSite(t)
			conn := p.dial(t, path)
			began := time.Now()
			if n, err := take(conn, chunkSize, stallTimeout/2); n != bodySize || err != nil {
				t.Errorf("%s: got %d bytes, %v", path, n, err)
			}
			if took := time.Since(began); took < 10*stallTimeout {
				t.Errorf("%s: took %v: not slow", path, took)
			}
			conn.Close()
			stop()
		})
	}
}

func TestStalledClientIsCutOff(t *testing.T) {
	for _, path := range []string{"/", "/copy"} {
		synctest.Test(t, func(t *testing.T) {
			p, stop := slowSite(t)
			conn := p.dial(t, path)
			if n, err := take(conn, 4*chunkSize, 2*stallTimeout); err == nil || n == bodySize {
				t.Errorf("%s: got %d bytes, %v", path, n, err)
			}
			conn.Close()
			stop()
		})
	}
}

func TestSilentClientIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := slowSite(t)
		client, server := net.Pipe()
		p.conns <- server
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.Copy(io.Discard, client); err != nil || time.Since(began) > time.Minute {
			t.Errorf("cut off after %v: %v", time.Since(began), err)
		}
		stop()
	})
}

func TestDrain(t *testing.T) {
	for _, test := range []struct {
		rest time.Duration // between chunks
		all  bool
	}{{drain / 100, true}, {drain / 10, false}} {
		synctest.Test(t, func(t *testing.T) {
			p, stop := slowSite(t)
			conn := p.dial(t, "/")
			got := make(chan int64)
			go func() {
				n, _ := take(conn, chunkSize, test.rest)
				conn.Close()
				got <- n
			}()
			time.Sleep(test.rest * 3 / 2) // the download has begun
			began := time.Now()
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			n := <-got
			<-stopped
			if (n == bodySize) != test.all {
				t.Errorf("a chunk every %v: got %d of %d bytes", test.rest, n, bodySize)
			}
			if took := time.Since(began); took > drain+time.Second {
				t.Errorf("stopped after %v", took)
			}
		})
	}
}

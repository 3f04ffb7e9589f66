package serve

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/repo"
)

// The work of one round, for each server: a 2 MiB database over HTTPS, as often
// as it goes, on connections that stay.
const (
	benchSize     = 2 << 20
	benchClients  = 4
	benchRequests = 50 // of each client
)

// TestMain lets the test binary be the server it is measured against.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BENCH_SERVE"); dir != "" {
		fmt.Fprintln(os.Stderr, benchServe(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// oneFile publishes the file body of a directory as every generation's.
type oneFile struct {
	published
	dir string
}

func (o oneFile) OpenGen(string, string, int64, string) (*os.File, error) {
	return os.Open(filepath.Join(o.dir, "body"))
}

func (o oneFile) Default() repo.Spec { return repo.Spec{Name: "serene", Arches: []string{"x86_64"}} }

// benchServe serves dir on the socket it is passed, with the server and handler
// that Run uses.
func benchServe(dir string) error {
	l, err := net.FileListener(os.NewFile(3, "https"))
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	id := &identity{}
	id.current.Store(&pair)
	log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}))
	public := &site{store: oneFile{dir: dir}, gens: newGenCache(), log: log, figures: &figures{}}
	return newHTTPServer(public, id.config(), log).ServeTLS(l, "", "")
}

// benchDir holds what both servers serve, and the certificate they serve it by.
func benchDir(b *testing.B) (dir string, roots *x509.CertPool) {
	b.Helper()
	dir = b.TempDir()
	body := make([]byte, benchSize)
	rand.NewChaCha8([32]byte{}).Read(body)
	cert, key, err := selfSigned([]string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	gen := filepath.Join(dir, "x86_64", "gen", "1")
	if err := os.MkdirAll(gen, 0o755); err != nil {
		b.Fatal(err)
	}
	for file, data := range map[string][]byte{
		"cert.pem": cert, "key.pem": key, "body": body, "x86_64/gen/1/serene.db": body, "nginx.conf": nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return dir, roots
}

// startServer runs cmd with a listening socket as its descriptor 3 and returns
// the address. It ends with the benchmark.
func startServer(b *testing.B, make func(addr string) *exec.Cmd) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	cmd := make(l.Addr().String())
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	// Passing it made the socket blocking, and nginx takes it as it is.
	if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	return l.Addr().String()
}

// nginxConf is Debian's, with a worker for each processor and no log.
const nginxConf = `daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr crit;
events { worker_connections 768; }
http {
	sendfile on;
	tcp_nopush on;
	access_log off;
	keepalive_requests 1000000;
	open_file_cache max=100;
	types { }
	default_type application/octet-stream;
	client_body_temp_path %[1]s/body-temp;
	proxy_temp_path %[1]s/proxy-temp;
	server {
		listen %[2]s ssl;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		root %[1]s;
	}
}
`

func startNginx(b *testing.B, dir string) string {
	return startServer(b, func(addr string) *exec.Cmd {
		conf := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, addr), 0o644); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command("nginx", "-p", dir, "-c", conf)
		cmd.Env = append(os.Environ(), "NGINX=3;") // the socket it inherits
		return cmd
	})
}

func startSerene(b *testing.B, dir string) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return startServer(b, func(string) *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "BENCH_SERVE="+dir)
		return cmd
	})
}

// fetch does one client's share of a round. It costs as little as it can, since
// it shares the machine with the server.
func fetch(addr string, conf *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	for range benchRequests {
		if _, err := io.WriteString(conn, "GET /x86_64/gen/1/serene.db HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != benchSize || err != nil {
			return fmt.Errorf("%s from %s: %d bytes, %w", resp.Status, addr, n, err)
		}
	}
	return nil
}

// round has every client fetch its share and returns the time it took.
func round(b *testing.B, addr string, conf *tls.Config) time.Duration {
	b.Helper()
	began := time.Now()
	errs := make([]error, benchClients)
	var clients sync.WaitGroup
	for i := range errs {
		clients.Go(func() { errs[i] = fetch(addr, conf) })
	}
	clients.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// BenchmarkAgainstNginx reports requests a second of both servers, measured in
// turns, and their ratio: above 1 is faster than nginx.
func BenchmarkAgainstNginx(b *testing.B) {
	dir, roots := benchDir(b)
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	nginx, serene := startNginx(b, dir), startSerene(b, dir)
	round(b, nginx, conf)
	round(b, serene, conf)
	var ours, theirs time.Duration
	for b.Loop() {
		theirs += round(b, nginx, conf)
		ours += round(b, serene, conf)
	}
	requests := float64(b.N * benchClients * benchRequests)
	b.ReportMetric(requests/ours.Seconds(), "serene-req/s")
	b.ReportMetric(requests/theirs.Seconds(), "nginx-req/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// testKey is a key pair, in memory and as ssh wants it on disk.
type testKey struct {
	gossh.Signer
	private ed25519.PrivateKey
}

func newKey(t testing.TB) testKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{signer, private}
}

// public returns the key as a line of authorized_keys, without line end.
func (k testKey) public() string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(k.PublicKey())))
}

// file writes the private key and its public part, and returns the former's path.
func (k testKey) file(t testing.TB) string {
	t.Helper()
	block, err := gossh.MarshalPrivateKey(k.private, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "id")
	writeFile(t, path, string(pem.EncodeToMemory(block)))
	writeFile(t, path+".pub", k.public()+"\n")
	return path
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// door is a running server, and what its tests look at.
type door struct {
	*Server
	t        testing.TB
	listener net.Listener
	hostKey  testKey
	keys     string // path of authorized_keys
	user     testKey
	log      *syncBuffer
	served   chan error
}

// syncBuffer is a buffer that several goroutines may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// openDoor starts a server that knows one key. change, where not nil, gets to
// see the configuration first.
func openDoor(t testing.TB, change func(*Config)) *door {
	t.Helper()
	d := &door{t: t, hostKey: newKey(t), user: newKey(t), log: new(syncBuffer), served: make(chan error, 1)}
	d.keys = filepath.Join(t.TempDir(), "authorized_keys")
	writeFile(t, d.keys, d.user.public()+" the user\n")
	log := slog.New(slog.NewTextHandler(d.log, nil))
	cfg := Config{
		HostKeys:   []gossh.Signer{d.hostKey},
		Keys:       OpenKeyFile(d.keys, nil, log),
		Exec:       testVerbs,
		Subsystems: map[string]Handler{"cat": cat},
		Log:        log,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if d.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() { d.served <- d.Serve(d.listener) }()
	t.Cleanup(d.close)
	return d
}

func (d *door) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.Shutdown(ctx); err != nil {
		d.t.Errorf("shutdown: %v\n%s", err, d.log)
	}
	if err := <-d.served; err != nil {
		d.t.Errorf("serve: %v", err)
	}
	if d.t.Failed() {
		d.t.Logf("server log:\n%s", d.log)
	}
}

func (d *door) addr() string { return d.listener.Addr().String() }

// testVerbs are the commands of the tests.
func testVerbs(ctx context.Context, s *Session) int {
	words, err := SplitWords(s.Command)
	if err != nil {
		fmt.Fprintln(s.Stderr, err)
		return 64
	}
	if len(words) == 0 {
		fmt.Fprintln(s.Stdout, "hello", s.User, s.Identity.Comment)
		return 0
	}
	switch words[0] {
	case "echo":
		fmt.Fprintf(s.Stdout, "%q", words[1:])
	case "cat":
		return cat(ctx, s)
	case "sum":
		h := sha256.New()
		n, err := io.CopyBuffer(h, onlyReader{s.Stdin}, make([]byte, 32<<10))
		fmt.Fprintln(s.Stdout, n, hex.EncodeToString(h.Sum(nil)), err)
	case "exit":
		status, _ := strconv.Atoi(words[1])
		fmt.Fprint(s.Stdout, "out")
		fmt.Fprint(s.Stderr, "err")
		return status
	case "panic":
		panic("at the disco")
	case "goexit":
		runtime.Goexit()
	case "wait":
		fmt.Fprintln(s.Stdout, "waiting")
		<-ctx.Done()
	case "zeros":
		n, _ := strconv.ParseInt(words[1], 10, 64)
		_, _ = io.CopyBuffer(onlyWriter{s.Stdout}, io.LimitReader(zeros{}, n), make([]byte, 32<<10))
	default:
		return 64
	}
	return 0
}

type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
	zeros      struct{}
)

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func cat(_ context.Context, s *Session) int {
	_, _ = io.Copy(s.Stdout, s.Stdin)
	return 0
}

// ssh prepares the real client with options and a command, against d.
func (d *door) ssh(args ...string) *exec.Cmd {
	d.t.Helper()
	return d.sshAs(d.user.file(d.t), args...)
}

func (d *door) sshAs(identity string, args ...string) *exec.Cmd {
	d.t.Helper()
	return d.client("ssh", identity, args...)
}

func (d *door) client(program, identity string, args ...string) *exec.Cmd {
	d.t.Helper()
	host, port, _ := net.SplitHostPort(d.addr())
	known := filepath.Join(d.t.TempDir(), "known_hosts")
	writeFile(d.t, known, fmt.Sprintf("[%s]:%s %s\n", host, port, d.hostKey.public()))
	all := []string{"-F", "none", "-p", port, "-l", "user",
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=none"}
	if identity != "" {
		all = append(all, "-i", identity)
	}
	// Options first, the host, and the command last.
	options := 0
	for options < len(args) && strings.HasPrefix(args[options], "-") {
		options++
	}
	all = append(append(append(all, args[:options]...), host), args[options:]...)
	cmd := exec.CommandContext(d.t.Context(), program, all...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=", "SSH_ASKPASS=")
	return cmd
}

// outcome is how a command ended.
type outcome struct {
	status         int
	stdout, stderr string
}

func run(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the status says it
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// dial connects with x/crypto's client.
func (d *door) dial(auth ...gossh.AuthMethod) (*gossh.Client, error) {
	if auth == nil {
		auth = []gossh.AuthMethod{gossh.PublicKeys(d.user)}
	}
	return gossh.Dial("tcp", d.addr(), d.clientConfig(auth...))
}

func (d *door) clientConfig(auth ...gossh.AuthMethod) *gossh.ClientConfig {
	return &gossh.ClientConfig{
		User:            "user",
		Auth:            auth,
		HostKeyCallback: gossh.FixedHostKey(d.hostKey.PublicKey()),
	}
}

func (d *door) mustDial() *gossh.Client {
	d.t.Helper()
	client, err := d.dial()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { client.Close() })
	return client
}

// eventually waits until ok, which something else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// works checks that the server still serves a stock client.
func (d *door) works() {
	d.t.Helper()
	if got := run(d.t, d.ssh("echo", "still here")); got.stdout != `["still" "here"]` || got.status != 0 {
		d.t.Fatalf("a plain command ended with %+v", got)
	}
}

func newKeyClient(t testing.TB, d *door, key testKey) *gossh.Client {
	t.Helper()
	client, err := d.dial(gossh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"serene/internal/config"
)

// TestMain lets the test binary be the daemon its tests start.
func TestMain(m *testing.M) {
	if os.Getenv("BE_DAEMON") != "" {
		Main("test-daemon", testDaemon)
	}
	os.Exit(m.Run())
}

// testDaemon says on standard output what it sees, a line each.
func testDaemon(ctx context.Context, p *Process) error {
	fmt.Println("inherits", os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID")+os.Getenv("NOTIFY_SOCKET"))
	l, err := p.Listen("https", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("bound", l.Addr())
	p.Ready()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("asked to stop: %w", ctx.Err())
		case c := <-p.Reloads():
			if c.Serve.URL == "http://fail" {
				return errors.New("told to fail")
			}
			fmt.Println("url", c.Serve.URL)
		}
	}
}

// child is a running test daemon.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Scanner
	stderr bytes.Buffer
	config string
}

// start runs the daemon with a configuration of its own, through a shell line
// that ends in `exec "$0" --config …`.
func start(t *testing.T, shell string, files ...*os.File) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, config: filepath.Join(t.TempDir(), "c.toml")}
	c.configure("http://one")
	c.cmd = exec.Command("/bin/sh", "-c", shell+` exec "$0" --config "$1"`, self, c.config)
	c.cmd.Env = append(os.Environ(), "BE_DAEMON=1")
	c.cmd.ExtraFiles = files
	c.cmd.Stderr = &c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

func (c *child) configure(url string) {
	c.t.Helper()
	if err := os.WriteFile(c.config, []byte("[serve]\nurl = \""+url+"\"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// line waits for the next line and returns what follows word on it.
func (c *child) line(word string) string {
	c.t.Helper()
	c.out.Scan()
	rest, ok := strings.CutPrefix(c.out.Text(), word)
	if !ok {
		c.t.Fatalf("got line %q, want %q…", c.out.Text(), word)
	}
	return strings.TrimSpace(rest)
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code and standard error.
func (c *child) exit() (int, string) {
	c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode(), c.stderr.String()
}

func TestTermination(t *testing.T) {
	c := start(t, "")
	if got := c.line("inherits"); got != "" {
		t.Errorf("environment still holds %q", got)
	}
	c.line("bound 127.0.0.1:")
	c.signal(syscall.SIGTERM)
	code, stderr := c.exit()
	if code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, stderr)
	}
	var first map[string]any
	line, _, _ := strings.Cut(stderr, "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil {
		t.Fatalf("log line %q: %v", line, err)
	}
	if first["msg"] != "listening" || first["name"] != "https" || !strings.HasPrefix(first["addr"].(string), "127.0.0.1:") {
		t.Errorf("first log line: %s", line)
	}
}

func TestReload(t *testing.T) {
	c := start(t, "")
	c.line("inherits")
	c.line("bound")
	c.configure("http://two")
	c.signal(syscall.SIGHUP)
	if got := c.line("url"); got != "http://two" {
		t.Errorf("after a reload: %s", got)
	}
	c.configure("nonsense")
	c.signal(syscall.SIGHUP)
	if got := c.line("url"); got != "http://two" {
		t.Errorf("after a config that does not load: %s", got)
	}
	c.configure("http://fail")
	c.signal(syscall.SIGHUP)
	code, stderr := c.exit()
	if code != 1 || !strings.Contains(stderr, "told to fail") || !strings.Contains(stderr, `serve.url = \"nonsense\"`) {
		t.Errorf("exit code %d, stderr %s", code, stderr)
	}
}

func TestSocketActivation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := start(t, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=https", f)
	if got := c.line("inherits"); got != "" {
		t.Errorf("environment still holds %q", got)
	}
	if got := c.line("bound"); got != l.Addr().String() {
		t.Errorf("bound %s, passed %s", got, l.Addr())
	}
	c.signal(syscall.SIGINT)
	if code, stderr := c.exit(); code != 0 {
		t.Errorf("exit code %d; %s", code, stderr)
	}
}

func TestSocketsRefused(t *testing.T) {
	for _, test := range []struct{ shell, want string }{
		{"LISTEN_PID=$$ LISTEN_FDS=x", `LISTEN_FDS = "x": accepts a number of sockets`},
		{"LISTEN_PID=$$ LISTEN_FDS=1", `LISTEN_FDNAMES = "": accepts a name of its own`},
		{"LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:a", `LISTEN_FDNAMES = "a:a": accepts a name of its own`},
	} {
		code, stderr := start(t, test.shell).exit()
		if code != 64 || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, stderr %q", test.shell, code, stderr)
		}
	}
}

// notifySocket listens where a service manager would.
func notifySocket(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@serene-test-%d", os.Getpid())} {
		conn := notifySocket(t, name)
		c := start(t, "NOTIFY_SOCKET="+name)
		if got := receive(t, conn); got != "READY=1" {
			t.Errorf("first %q", got)
		}
		c.signal(syscall.SIGHUP)
		if got := receive(t, conn); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
			t.Errorf("at reload %q", got)
		}
		if got := receive(t, conn); got != "READY=1" {
			t.Errorf("after reload %q", got)
		}
		c.signal(syscall.SIGTERM)
		if got := receive(t, conn); got != "STOPPING=1" {
			t.Errorf("at the end %q", got)
		}
		if code, stderr := c.exit(); code != 0 {
			t.Errorf("exit code %d; %s", code, stderr)
		}
	}
}

// once runs a daemon whose function returns err at once.
func once(err error, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	d := &daemon{name: "d", args: args, stdout: &out, stderr: &errs}
	code = d.run(context.Background(), func(context.Context, *Process) error { return err })
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("x = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args           []string
		err            error
		code           int
		stdout, stderr string // what each must contain
	}{
		{args: []string{"--help"}, code: 0, stdout: "Usage: d [--config FILE]"},
		{args: []string{"--version"}, code: 0, stdout: "d " + Version() + "\n"},
		{args: []string{"--verbose"}, code: 64, stderr: "d: flag provided but not defined: -verbose; see --help\n"},
		{args: []string{"now"}, code: 64, stderr: "d: unexpected argument \"now\"; see --help\n"},
		{args: []string{"--config", bad}, code: 64, stderr: bad + ": unknown key \"x\"\n"},
		{args: []string{"--config", bad + "x"}, code: 64, stderr: "d: read config: open"},
		{code: 0},
		{err: errors.New("no luck"), code: 1, stderr: "no luck"},
		{err: context.Canceled, code: 1, stderr: "context canceled"},
		{err: &config.Error{Key: "k", Reason: `"v": accepts w`}, code: 64, stderr: "config refused"},
	} {
		code, stdout, stderr := once(test.err, test.args...)
		if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", test.args, code, stdout, stderr)
		}
	}
}

func TestEnvironment(t *testing.T) {
	state := t.TempDir()
	t.Setenv("SERENE_STATE", state)
	var got string
	d := &daemon{name: "d", stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	d.run(context.Background(), func(_ context.Context, p *Process) error {
		got = string(p.Config.State)
		return nil
	})
	if got != state {
		t.Errorf("state %q, want %q", got, state)
	}
	t.Setenv("SERENE_CONFIG", filepath.Join(state, "none.toml"))
	if code, _, _ := once(nil); code != 64 {
		t.Errorf("exit code %d for a SERENE_CONFIG that is not there", code)
	}
}

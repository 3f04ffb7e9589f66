package script_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/dev/openssh"
	"serene/internal/dev/pacman"
	"serene/internal/dev/unit"
)

// patience is how long anything may take before the script fails. It is a
// bound, not a wait: nothing takes this long on a machine that is well.
const patience = time.Minute

// defaultConfig is serene.toml where a script brings none. Variables are
// expanded in both. The listen addresses are those of the sockets passed in.
const defaultConfig = `
[[repo]]
name = "serene"
arches = ["x86_64"]
[receive]
listen = "$SSH_ADDR"
min_free = "1MiB"
[serve]
listen = "$HTTPS_ADDR"
http_listen = "$HTTP_ADDR"
admin_listen = "$ADMIN_ADDR"
url = "https://$HTTPS_ADDR"
`

type worldKey struct{}

// world is what one script has to itself. Scripts see, beside testscript's own:
//
//	$BIN                   where the daemons are
//	$STATE                 the state directory
//	$SSH_CONFIG            for ssh -F, scp -F and sftp -F; its hosts are the keys
//	$HTTPS $HTTP $ADMIN    base URLs
//	$CERT                  PEM file of the HTTPS certificate, once there is a client
//	$ROOT $KEYRING         the client's installed system and GnuPG home
type world struct {
	dir            string
	sockets        []*unit.Socket
	serve, receive *unit.Unit
	builders       []*unit.Unit // by the order they were first started in
	logs           map[*unit.Unit]*logBuffer
	ssh            *openssh.Client
	hostTrusted    bool
	client         *pacman.System
	held           *held
	twin           *twin
	front          *openssh.Sshd
	code           int // exit status of the last ssh or pacman
}

func setUp(env *testscript.Env) error {
	w := &world{dir: env.WorkDir, logs: map[*unit.Unit]*logBuffer{}}
	env.Values[worldKey{}] = w
	env.Defer(func() { w.close(env.T()) })
	var err error
	if w.ssh, err = openssh.New(w.path("ssh")); err != nil {
		return err
	}
	env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
	env.Setenv("BIN", bin)
	env.Setenv("STATE", w.state())
	env.Setenv("SSH_CONFIG", w.ssh.Config())
	env.Setenv("CERT", w.path("cert.pem"))
	env.Setenv("ROOT", w.path("client/root"))
	env.Setenv("KEYRING", w.path("client/gnupg"))
	if err := w.listen(env); err != nil {
		return err
	}
	if err := os.Mkdir(w.state(), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(w.authorizedKeys(), nil, 0o600); err != nil {
		return err
	}
	return w.configure(env)
}

// listen opens the sockets that the daemons are passed, each on a free port.
func (w *world) listen(env *testscript.Env) error {
	for _, s := range []struct{ name, addr, url string }{
		{"ssh", "SSH_ADDR", ""},
		{"https", "HTTPS_ADDR", "HTTPS"},
		{"http", "HTTP_ADDR", "HTTP"},
		{"admin", "ADMIN_ADDR", "ADMIN"},
	} {
		socket, err := unit.Listen(s.name, "127.0.0.1:0")
		if err != nil {
			return err
		}
		w.sockets = append(w.sockets, socket)
		env.Setenv(s.addr, socket.Addr)
		switch s.name {
		case "https":
			env.Setenv(s.url, "https://"+socket.Addr)
		case "http", "admin":
			env.Setenv(s.url, "http://"+socket.Addr)
		}
	}
	w.receive = w.unit("serene-receive", w.sockets[:1])
	w.serve = w.unit("serene-serve", w.sockets[1:])
	return nil
}

func (w *world) unit(name string, sockets []*unit.Socket) *unit.Unit {
	log := &logBuffer{}
	u := &unit.Unit{
		Path:    daemon(name),
		Args:    []string{"--config", w.path("serene.toml"), "--state", w.state()},
		Env:     []string{"PATH=/nonexistent", "HOME=" + w.dir, "GORACE=halt_on_error=1"},
		Sockets: sockets,
		Log:     log,
	}
	w.logs[u] = log
	return u
}

func (w *world) configure(env *testscript.Env) error {
	path := w.path("serene.toml")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(defaultConfig)
	} else if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(os.Expand(string(text), env.Getenv)), 0o644)
}

// close stops what still runs. A daemon that does not stop well fails the
// script, and so does one that panicked or raced; its log is shown with any
// failure.
func (w *world) close(t testscript.T) {
	var failed []error
	if w.held != nil {
		w.held.kill()
	}
	if w.twin != nil {
		failed = append(failed, w.twin.close(w))
	}
	for _, u := range append(w.builders, w.receive, w.serve) {
		if u == nil {
			continue
		}
		failed = append(failed, w.stop(u))
		t.Log(fmt.Sprintf("log of %s:\n%s", filepath.Base(u.Path), w.logs[u].String()))
		for _, bad := range []string{"WARNING: DATA RACE", "panic: ", `"panic"`, "msg=panic"} {
			if w.logs[u].has(bad) {
				failed = append(failed, fmt.Errorf("%s: %s", filepath.Base(u.Path), bad))
			}
		}
	}
	if w.front != nil { // its sessions have ended with the builders
		w.front.Stop()
	}
	for _, s := range w.sockets {
		failed = append(failed, s.Close())
	}
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }
func (w *world) state() string           { return w.path("state") }
func (w *world) authorizedKeys() string  { return filepath.Join(w.state(), "authorized_keys") }

// run runs cmd with its output going where the script's stdout and stderr
// commands look, keeps its exit status for code, and fails the script when the
// command failed and should not have, or the other way round.
func (w *world) run(ts *testscript.TestScript, neg bool, cmd *exec.Cmd) {
	if cmd.Stdout == nil {
		cmd.Stdout = ts.Stdout()
	}
	cmd.Stderr = ts.Stderr()
	w.judge(ts, neg, cmd, cmd.Run())
}

// judge takes the exit status of a command that ended with err.
func (w *world) judge(ts *testscript.TestScript, neg bool, cmd *exec.Cmd, err error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	w.code = cmd.ProcessState.ExitCode()
	switch {
	case err == nil && neg:
		ts.Fatalf("unexpected success")
	case err != nil && !neg:
		ts.Fatalf("unexpected failure: %v", err)
	}
}

// cmdCode checks the exit status of the last ssh or pacman: code 4.
func (w *world) cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: code N")
	}
	if got := fmt.Sprint(w.code); got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// within gives a context that ends when patience does.
func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// await asks done again and again until it holds, or patience ends.
func await(ts *testscript.TestScript, what string, done func() bool) {
	ctx, cancel := within()
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// logBuffer is written by a daemon and read by a script.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) has(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.buf.Bytes(), []byte(s))
}

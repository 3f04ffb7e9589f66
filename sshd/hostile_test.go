package sshd

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	gossh "golang.org/x/crypto/ssh"
)

// readAll is a handler that reports how its stdin ended, once its context has
// told of the client's leaving, too, where it left.
func readAll(reading chan<- struct{}, ended chan<- error) Handler {
	return func(ctx context.Context, s *Session) int {
		b := make([]byte, 1)
		_, _ = io.ReadFull(s.Stdin, b)
		close(reading)
		_, err := io.Copy(io.Discard, s.Stdin)
		if err != nil {
			<-ctx.Done()
		}
		ended <- err
		return 0
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStrangerIsRefused(t *testing.T) {
	d := openDoor(t, nil)
	got := run(t, d.sshAs(newKey(t).file(t), "echo"))
	if got.status != 255 || !strings.Contains(got.stderr, "Permission denied (publickey)") {
		t.Errorf("got %+v", got)
	}
}

// impostor shows one key and signs with another.
type impostor struct {
	gossh.Signer
	shown gossh.PublicKey
}

func (i impostor) PublicKey() gossh.PublicKey { return i.shown }

func TestShownKeyThatCannotSignIsRefused(t *testing.T) {
	d := openDoor(t, nil)
	client, err := d.dial(gossh.PublicKeys(impostor{newKey(t), d.user.PublicKey()}))
	if err == nil {
		client.Close()
		t.Fatal("let in")
	}
}

// The client may offer a mighty key of someone else, hear that it would do,
// and then prove its own small one: it must be the small one that counts.
func TestProvenKeyCountsNotTheOffered(t *testing.T) {
	d := openDoor(t, func(c *Config) {
		c.Exec = func(_ context.Context, s *Session) int {
			fmt.Fprintf(s.Stdout, "%s %q", s.Identity.Fingerprint, s.Identity.Command)
			return 0
		}
	})
	own := newKey(t)
	writeFile(t, d.keys, d.user.public()+"\ncommand=\"small\" "+own.public()+"\n")
	dir := t.TempDir()
	mighty := dir + "/mighty" // its private part stays locked: it can be offered only
	locked := keygen(t, dir, "other", "-ted25519")
	sshKeygen(t, "-q", "-p", "-P", "", "-N", "secret", "-f", locked)
	writeFile(t, mighty, readFile(t, locked))
	writeFile(t, mighty+".pub", d.user.public()+"\n")

	got := run(t, d.sshAs(mighty, "-v", "-i"+own.file(t), "whoami"))
	if !strings.Contains(got.stderr, "Server accepts key: "+mighty) {
		t.Errorf("the other's key was not offered, or not accepted for signing:\n%s", got.stderr)
	}
	if want := Fingerprint(own.PublicKey()) + ` "small"`; got.stdout != want {
		t.Errorf("got %s, want %s", got.stdout, want)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	d := openDoor(t, nil)
	for name, auth := range map[string]gossh.AuthMethod{
		"password":             gossh.Password(""),
		"keyboard-interactive": gossh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil }),
	} {
		if client, err := d.dial(auth); err == nil {
			client.Close()
			t.Errorf("%s: let in", name)
		}
	}
	if client, err := gossh.Dial("tcp", d.addr(), d.clientConfig()); err == nil { // method none
		client.Close()
		t.Error("none: let in")
	}
}

func TestMaxAuthTries(t *testing.T) {
	d := openDoor(t, func(c *Config) { c.Limits.MaxAuthTries = 3 })
	keys := []gossh.Signer{newKey(t), newKey(t), newKey(t), d.user}
	if client, err := d.dial(gossh.PublicKeys(keys...)); err == nil {
		client.Close()
		t.Error("the fourth key was looked at")
	}
	client, err := d.dial(gossh.PublicKeys(keys[1:]...))
	if err != nil {
		t.Fatalf("the third key was not: %v", err)
	}
	client.Close()
}

func TestMalformedRequests(t *testing.T) {
	d := openDoor(t, nil)
	client := d.mustDial()
	long := gossh.Marshal(struct{ Command string }{strings.Repeat("a", 200<<10)})
	for _, r := range []struct {
		name    string
		payload []byte
	}{
		{"pty-req", nil}, {"pty-req", []byte{0xff, 0xff, 0xff, 0xff}}, {"pty-req", []byte("\x00\x00\x00\x05xterm")},
		{"pty-req", []byte("\xff\xff\xff\xfcxterm\x00\x00")},
		{"env", nil}, {"env", []byte{0, 0, 0, 9, 'x'}}, {"window-change", []byte{1}}, {"x11-req", nil},
		{"auth-agent-req@openssh.com", nil}, {"signal", []byte("\x00\x00\x00\x04KILL")}, {"break", []byte{0, 0, 0, 1}},
		{"exec", nil}, {"exec", []byte{0, 0, 0, 9, 'x'}}, {"exec", []byte{0xff, 0xff, 0xff, 0xff, 'x'}},
		{"exec", []byte("\x00\x00\x00\x01xtrailing")}, {"shell", []byte("x")},
		{"subsystem", nil}, {"subsystem", []byte{0, 0, 0, 0}}, {"subsystem", []byte{0, 0, 0, 2, 'x'}},
		{"", nil}, {strings.Repeat("x", 1000), long}, {"exit-status", []byte{0, 0, 0, 0}},
	} {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatalf("%.20q %.20q: %v", r.name, r.payload, err)
		}
		go gossh.DiscardRequests(requests)
		if ok, err := channel.SendRequest(r.name, true, r.payload); ok || err != nil {
			t.Errorf("%.20q %.20q: %v, %v; want it refused", r.name, r.payload, ok, err)
		}
		channel.Close()
		// Only when the server has seen the close is the place free again.
		_, _ = io.Copy(io.Discard, channel)
	}
	if got := runExec(t, client, "echo"); got.status != 0 {
		t.Errorf("a command after all that: %+v", got)
	}
	d.works()
}

// runExec runs a command over an open connection.
func runExec(t testing.TB, client *gossh.Client, command string) outcome {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.Output(command)
	var exit *gossh.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", command, err)
	}
	if exit != nil {
		return outcome{status: exit.ExitStatus(), stdout: string(out)}
	}
	return outcome{stdout: string(out)}
}

func TestOneCommandPerChannel(t *testing.T) {
	d := openDoor(t, nil)
	client := d.mustDial()
	channel, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go gossh.DiscardRequests(requests)
	exec := gossh.Marshal(struct{ Command string }{"cat"})
	if ok, err := channel.SendRequest("exec", true, exec); !ok || err != nil {
		t.Fatalf("first exec: %v, %v", ok, err)
	}
	for _, name := range []string{"exec", "subsystem", "shell", "pty-req"} {
		payload := exec
		if name == "shell" {
			payload = nil
		}
		if ok, err := channel.SendRequest(name, true, payload); ok || err != nil {
			t.Errorf("%s after exec: %v, %v; want it refused", name, ok, err)
		}
	}
	_, _ = channel.Write([]byte("once"))
	_ = channel.CloseWrite()
	if b, _ := io.ReadAll(channel); string(b) != "once" {
		t.Errorf("got %q", b)
	}
}

func TestGlobalRequestsAndOtherChannels(t *testing.T) {
	d := openDoor(t, nil)
	client := d.mustDial()
	for _, name := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com",
		"hostkeys-prove-00@openssh.com", "no-more-sessions@openssh.com", ""} {
		if ok, _, err := client.SendRequest(name, true, []byte{0xff}); ok || err != nil {
			t.Errorf("global %q: %v, %v", name, ok, err)
		}
	}
	for _, name := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "forwarded-tcpip", "x11",
		"auth-agent@openssh.com", "tun@openssh.com", ""} {
		var refused *gossh.OpenChannelError
		if _, _, err := client.OpenChannel(name, []byte{0xff}); !errors.As(err, &refused) || refused.Reason != gossh.Prohibited {
			t.Errorf("channel %q: %v", name, err)
		}
	}
}

func TestFiveHundredChannels(t *testing.T) {
	d := openDoor(t, nil)
	client := d.mustDial()
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := 0
	for range 500 {
		wg.Go(func() {
			_, requests, err := client.OpenChannel("session", nil)
			if err != nil {
				return
			}
			go gossh.DiscardRequests(requests)
			mu.Lock()
			defer mu.Unlock()
			open++
		})
	}
	wg.Wait()
	if open != 10 {
		t.Errorf("%d sessions open at a time, want MaxSessions", open)
	}
	d.works()
}

// A client that opens channels and reads no answer must not pile up memory:
// at some point it is cut off.
func TestChannelsWithoutReadingAnswers(t *testing.T) {
	d := openDoor(t, nil)
	narrow := listenNarrow(t)
	go func() { _ = d.Serve(narrow) }()
	socket, err := net.Dial("tcp", narrow.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	gate := &gatedConn{Conn: socket, closed: make(chan struct{})}
	conn, chans, reqs, err := gossh.NewClientConn(gate, "", d.clientConfig(gossh.PublicKeys(d.user)))
	if err != nil {
		t.Fatal(err)
	}
	client := gossh.NewClient(conn, chans, reqs)
	defer client.Close()
	gate.shut.Store(true)
	defer close(gate.closed)
	for range 4000 { // answers to the first fill the buffers
		go func() { _, _, _ = client.OpenChannel("x", nil) }()
	}
	eventually(t, "the client is cut off", func() bool { return len(d.open()) == 0 })
	d.works()
}

// narrowListener gives its connections as little buffer as there is.
type narrowListener struct{ net.Listener }

func listenNarrow(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return narrowListener{l}
}

func (l narrowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(1)
	}
	return conn, err
}

// gatedConn stops reading once shut, until it is closed.
type gatedConn struct {
	net.Conn
	shut   atomic.Bool
	closed chan struct{}
}

func (g *gatedConn) Read(b []byte) (int, error) {
	if g.shut.Load() {
		<-g.closed
	}
	return g.Conn.Read(b)
}

func TestSilentConnectionsDoNotShutTheDoor(t *testing.T) {
	d := openDoor(t, nil)
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", d.addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		// The version line shows that the connection was accepted, or its
		// end that it was dropped for another.
		_, _ = bufio.NewReader(conn).ReadString('\n')
	}
	d.works()
	if n := len(d.open()); n > 200 {
		t.Errorf("%d connections wait, more than MaxStartups", n)
	}
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "the connections are gone", func() bool { return len(d.open()) == 0 })
	eventually(t, "their goroutines are gone", func() bool { return runtime.NumGoroutine() < before+20 })
	d.works()
}

func TestRandomBytes(t *testing.T) {
	d := openDoor(t, nil)
	for i := range 60 {
		conn, err := net.Dial("tcp", d.addr())
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 4<<10)
		_, _ = rand.Read(noise)
		if i%3 > 0 { // get past the version line
			_, _ = io.WriteString(conn, "SSH-2.0-noise\r\n")
		}
		if i%3 > 1 { // a plausible packet length and padding
			copy(noise, []byte{0, 0, 2, 0, 8, 20})
		}
		_, _ = conn.Write(noise)
		conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	d.works()
	eventually(t, "the connections are gone", func() bool { return len(d.open()) == 0 })
}

func TestConnectionsPerKeyAndAddress(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"key":     func(l *Limits) { l.MaxConnectionsPerKey = 2 },
		"address": func(l *Limits) { l.MaxConnectionsPerAddress = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, func(c *Config) { change(&c.Limits) })
			first := d.mustDial()
			d.mustDial()
			if got := run(t, d.ssh("echo")); got.status != 255 || !strings.Contains(got.stderr, "too many connections") {
				t.Errorf("third connection: %+v", got)
			}
			first.Close()
			eventually(t, "a place is free", func() bool { return len(d.open()) == 1 })
			d.works()
		})
	}
}

// The status must be out before the end of output: a client may answer that
// with a close, and then it is too late.
func TestStatusComesBeforeTheEnd(t *testing.T) {
	d := openDoor(t, nil)
	channel, requests, err := d.mustDial().OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := channel.SendRequest("exec", true, gossh.Marshal(struct{ Command string }{"exit 5"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if out, err := io.ReadAll(channel); string(out) != "out" || err != nil {
		t.Fatalf("%q, %v", out, err)
	}
	// The library hands packets on in order, so a status that came before
	// the end is there already.
	select {
	case req := <-requests:
		if req == nil || req.Type != "exit-status" {
			t.Errorf("got %+v", req)
		}
	default:
		t.Error("the output has ended, and there is no status")
	}
}

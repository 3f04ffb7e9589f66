package script_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// attack is one kind of bad client. It goes on until ctx ends; what becomes of
// it does not matter.
type attack func(s *soak, ctx context.Context)

var attacks = map[string]attack{
	"silent connections": (*soak).silence,
	"random bytes":       (*soak).noise,
	"malformed requests": (*soak).malformed,
	"many channels":      (*soak).channels,
	"bad sftp":           (*soak).badSFTP,
	"half a push":        (*soak).halfPush,
}

// cmdSoak lets every attack loose on serene-receive for so many seconds, by
// strangers and by a key that is let in, while another pushes a package again
// and again: soak FILE KEY ATTACKER SECONDS. Each push must be done. Afterwards
// the process is the same, holds no more files than before, and has kept within
// its memory.
func (w *world) cmdSoak(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: soak FILE KEY ATTACKER SECONDS")
	}
	seconds, err := strconv.Atoi(args[3])
	ts.Check(err)
	s, err := w.newSoak(args[2])
	ts.Check(err)
	pid := w.receive.PID()
	before := openFiles(pid)

	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	var group errgroup.Group
	for name, attack := range attacks {
		group.Go(func() error {
			for ctx.Err() == nil {
				attack(s, ctx)
				s.count[name].Add(1)
			}
			return nil
		})
	}
	group.Go(func() error { return w.pushUntil(ctx, ts.MkAbs(args[0]), args[1], &s.pushes) })
	ts.Check(group.Wait())

	for name, n := range s.count {
		ts.Logf("%s: %d rounds", name, n.Load())
	}
	await(ts, "the connections to be gone", func() bool { return openFiles(pid) <= before+2 })
	peak := peakMemory(pid)
	ts.Logf("%d pushes in %d s; %d files open before, %d after; %d MiB at most", s.pushes.Load(), seconds, before, openFiles(pid), peak>>20)
	switch {
	case w.receive.PID() != pid || !w.receive.Running():
		ts.Fatalf("serene-receive is another process")
	case s.pushes.Load() < 2:
		ts.Fatalf("%d pushes: too few to show anything", s.pushes.Load())
	case peak > soakMemory:
		ts.Fatalf("%d MiB of memory, more than %d", peak>>20, int64(soakMemory)>>20)
	}
}

// soakMemory is what serene-receive may have in memory, at most. The race
// detector takes several times as much as the program.
const soakMemory = 128<<20 + raceMemory

// pushUntil pushes the package until ctx ends.
func (w *world) pushUntil(ctx context.Context, file, key string, pushes *atomic.Int64) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		patient, cancel := within()
		cmd := w.ssh.Command(patient, key, "push", filepath.Base(file))
		cmd.Stdin = bytes.NewReader(content)
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("push: %w\n%s", err, out)
		}
		pushes.Add(1)
	}
	return nil
}

// attacker has an address of its own. Who floods from the address of someone
// else can keep that one out for as long.
var attacker = &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}

// soak is what the attackers know.
type soak struct {
	addr   string
	config *gossh.ClientConfig
	count  map[string]*atomic.Int64
	pushes atomic.Int64
}

func (w *world) newSoak(attacker string) (*soak, error) {
	text, err := os.ReadFile(filepath.Join(w.ssh.Dir, "id_"+attacker))
	if err != nil {
		return nil, err
	}
	key, err := gossh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	s := &soak{addr: w.receive.Sockets[0].Addr, count: make(map[string]*atomic.Int64)}
	s.config = &gossh.ClientConfig{
		User: "attacker", Auth: []gossh.AuthMethod{gossh.PublicKeys(key)}, Timeout: patience,
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), // the attacker does not care
	}
	for name := range attacks {
		s.count[name] = new(atomic.Int64)
	}
	return s, nil
}

// silence opens 300 connections, says nothing, and keeps them to the end.
func (s *soak) silence(ctx context.Context) { s.dialMany(ctx, 300, func(net.Conn) {}) }

func (s *soak) dialMany(ctx context.Context, n int, say func(net.Conn)) {
	var conns []net.Conn
	for range n {
		conn, err := attacker.DialContext(ctx, "tcp", s.addr)
		if err != nil {
			break
		}
		conns = append(conns, conn)
		say(conn)
	}
	<-ctx.Done()
	for _, conn := range conns {
		conn.Close()
	}
}

func (s *soak) noise(ctx context.Context) {
	conn, err := attacker.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	b := make([]byte, 8<<10)
	rand.Read(b)
	if b[0]%2 == 0 {
		copy(b, "SSH-2.0-noise\r\n")
	}
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(b)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
}

// login connects as the attacker, whose key is let in.
func (s *soak) login(ctx context.Context, use func(*gossh.Client)) {
	socket, err := attacker.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return
	}
	defer socket.Close()
	conn, chans, reqs, err := gossh.NewClientConn(socket, s.addr, s.config)
	if err != nil {
		return
	}
	client := gossh.NewClient(conn, chans, reqs)
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	use(client)
}

// malformed sends requests of every type with payloads that are none.
func (s *soak) malformed(ctx context.Context) {
	s.login(ctx, func(client *gossh.Client) {
		for _, kind := range []string{"exec", "shell", "subsystem", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com", "signal", "window-change", "break", "", "exit-status"} {
			for _, payload := range [][]byte{nil, {0}, {0xff, 0xff, 0xff, 0xff}, []byte("\x00\x00\x00\x04exec\x00"), bytes.Repeat([]byte{0x7f}, 30_000)} {
				channel, requests, err := client.OpenChannel("session", nil)
				if err != nil {
					return
				}
				go gossh.DiscardRequests(requests)
				channel.SendRequest(kind, true, payload)
				channel.Close()
			}
		}
		client.SendRequest("tcpip-forward", true, []byte{1, 2, 3})
		client.OpenChannel("direct-tcpip", []byte("nonsense"))
	})
}

// channels opens 500 channels at once and leaves them open for a while.
func (s *soak) channels(ctx context.Context) {
	s.login(ctx, func(client *gossh.Client) {
		for range 500 {
			_, requests, err := client.OpenChannel("session", nil)
			if err != nil && errors.As(err, new(*gossh.OpenChannelError)) {
				continue
			}
			if err != nil {
				return
			}
			go gossh.DiscardRequests(requests)
		}
	})
}

// badSFTP speaks SFTP for a moment, then nonsense, and leaves files open.
func (s *soak) badSFTP(ctx context.Context) {
	s.login(ctx, func(client *gossh.Client) {
		session, err := client.NewSession()
		if err != nil {
			return
		}
		defer session.Close()
		stdin, err := session.StdinPipe()
		if err != nil || session.RequestSubsystem("sftp") != nil {
			return
		}
		stdin.Write([]byte("\x00\x00\x00\x05\x01\x00\x00\x00\x03"))
		name := "/evil-1-1-x86_64.pkg.tar.zst"
		for i := range byte(100) { // open for writing, creating
			stdin.Write([]byte{0, 0, 0, byte(17 + len(name)), 3, 0, 0, 0, i, 0, 0, 0, byte(len(name))})
			stdin.Write([]byte(name + "\x00\x00\x00\x0a\x00\x00\x00\x00"))
		}
		noise := make([]byte, 1<<10)
		rand.Read(noise)
		stdin.Write(noise)
		stdin.Close()
		session.Wait()
	})
}

// halfPush sends part of a package that is none.
func (s *soak) halfPush(ctx context.Context) {
	s.login(ctx, func(client *gossh.Client) {
		session, err := client.NewSession()
		if err != nil {
			return
		}
		session.Stdin = io.LimitReader(rand.Reader, 1<<20)
		session.Run("push evil-1-1-x86_64.pkg.tar.zst")
	})
}

func openFiles(pid int) int {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 1 << 20
	}
	return len(files)
}

// peakMemory is the most a process ever had in memory, in bytes.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 1 << 40
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 1 << 40
}

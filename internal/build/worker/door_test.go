package worker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
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

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"serene/internal/job"
	"serene/sshd"
)

// gate is a real SSH server that runs what the test says.
type gate struct {
	addr  string
	door  *Door
	log   bytes.Buffer
	mu    sync.Mutex
	lines []string // guarded by mu: commands that came
}

func newGate(t *testing.T, exec sshd.Handler, change func(knownHosts string)) *gate {
	t.Helper()
	dir := t.TempDir()
	host, _, err := sshd.LoadOrCreateHostKey(filepath.Join(dir, "host"))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = l.Addr().String()
	identity, known, keys := filepath.Join(dir, "id"), filepath.Join(dir, "known"), filepath.Join(dir, "keys")
	for path, text := range map[string]string{
		identity: string(pem.EncodeToMemory(block)),
		known:    knownhosts.Line([]string{g.addr}, host.PublicKey()) + "\n",
		keys:     string(ssh.MarshalAuthorizedKey(key)),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(known)
	log := slog.New(slog.NewTextHandler(&g.log, nil))
	server, err := sshd.New(sshd.Config{
		HostKeys: []ssh.Signer{host}, Keys: sshd.OpenKeyFile(keys, nil, slog.New(slog.DiscardHandler)),
		Exec: func(ctx context.Context, s *sshd.Session) int {
			g.mu.Lock()
			g.lines = append(g.lines, s.Command)
			g.mu.Unlock()
			return exec(ctx, s)
		},
		Subsystems: map[string]sshd.Handler{"nats": exec},
		Log:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		server.Shutdown(ctx)
	})
	if g.door, err = OpenDoor("ssh://builder@"+g.addr, identity, known, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.door.Close() })
	return g
}

func TestDoorRuns(t *testing.T) {
	g := newGate(t, func(_ context.Context, s *sshd.Session) int {
		io.Copy(s.Stdout, s.Stdin)
		return 0
	}, func(string) {})
	var out bytes.Buffer
	argv := []string{"push", "-", "it's", "$(x) ", `a"b\`}
	if err := g.door.Run(t.Context(), argv, strings.NewReader("hello"), &out); err != nil || out.String() != "hello" {
		t.Errorf("%q, %v", out.String(), err)
	}
	words, err := sshd.SplitWords(g.lines[0])
	if err != nil || fmt.Sprint(words) != fmt.Sprint(argv) {
		t.Errorf("words %q, %v", words, err)
	}
}

func TestDoorRefusal(t *testing.T) {
	g := newGate(t, func(_ context.Context, s *sshd.Session) int {
		io.WriteString(s.Stderr, "received 1 MiB\npush -: foo is held\n")
		return 4
	}, func(string) {})
	err := g.door.Run(t.Context(), []string{"push"}, nil, io.Discard)
	var refused *Refusal
	if !errors.As(err, &refused) || *refused != (Refusal{4, "push -: foo is held"}) {
		t.Errorf("error %#v", err)
	}
}

func TestDoorCancel(t *testing.T) {
	running := make(chan struct{})
	g := newGate(t, func(ctx context.Context, s *sshd.Session) int {
		close(running)
		<-ctx.Done()
		return 0
	}, func(string) {})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-running
		cancel()
	}()
	if err := g.door.Run(ctx, []string{"pull"}, nil, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestDoorComesBack: a connection that broke is made anew.
func TestDoorComesBack(t *testing.T) {
	g := newGate(t, func(context.Context, *sshd.Session) int { return 0 }, func(string) {})
	for range 3 {
		if err := g.door.Run(t.Context(), []string{"key"}, nil, io.Discard); err != nil {
			t.Error(err)
		}
		g.door.client.Close()
	}
}

// TestDoorQueue: who dials finds the token at the first byte.
func TestDoorQueue(t *testing.T) {
	g := newGate(t, func(_ context.Context, s *sshd.Session) int {
		io.WriteString(s.Stdout, "TOKEN\nINFO")
		return 0
	}, func(string) {})
	conn, err := g.door.DialQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if said, err := io.ReadAll(conn); string(said) != "TOKEN\nINFO" || err != nil {
		t.Errorf("%q, %v", said, err)
	}
}

// TestDoorTurnedAway: who is not let in says why, once.
func TestDoorTurnedAway(t *testing.T) {
	g := newGate(t, func(_ context.Context, s *sshd.Session) int {
		job.TurnAway(s.Stdout, "not this key")
		return 3
	}, func(string) {})
	for range 3 {
		if _, err := g.door.DialQueue(); !errors.Is(err, job.ErrDenied) {
			t.Errorf("error %v", err)
		}
	}
	log := g.log.String()
	if strings.Count(log, "not this key") != 1 || strings.Contains(log, "connected") {
		t.Errorf("log %s", log)
	}
}

// TestDoorKnowsTheHost: a host with another key gets to hear nothing.
func TestDoorKnowsTheHost(t *testing.T) {
	g := newGate(t, func(context.Context, *sshd.Session) int { return 0 }, func(known string) {
		other, _, err := sshd.LoadOrCreateHostKey(filepath.Join(t.TempDir(), "other"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(known)
		if err != nil {
			t.Fatal(err)
		}
		addr, _, _ := strings.Cut(string(text), " ")
		line := addr + " " + string(ssh.MarshalAuthorizedKey(other.PublicKey()))
		if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if err := g.door.Run(t.Context(), []string{"key"}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "key mismatch") {
		t.Errorf("error %v", err)
	}
	for range 3 {
		if _, err := g.door.DialQueue(); err == nil {
			t.Error("the queue was opened")
		}
	}
	if n := strings.Count(g.log.String(), "the hub is not reached"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, g.log.String())
	}
	if len(g.lines) != 0 {
		t.Errorf("it ran %q", g.lines)
	}
}

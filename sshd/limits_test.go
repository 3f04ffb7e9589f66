package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// bubble is a server whose clock is that of synctest.
type bubble struct {
	*Server
	t        *testing.T
	listener *memListener
	host     testKey
	user     testKey
}

// anyone is an Authorizer that admits every key until told otherwise.
type anyone struct{ refuse error }

func (a *anyone) Authorize(_ string, _ net.Addr, key gossh.PublicKey) (*Identity, error) {
	return &Identity{Key: key, Fingerprint: Fingerprint(key)}, a.refuse
}

func (a *anyone) Version() uint64 { return 0 }

func inBubble(t *testing.T, limits Limits, test func(*testing.T, *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, listener: newMemListener(), host: newKey(t), user: newKey(t)}
		var err error
		b.Server, err = New(Config{
			HostKeys: []gossh.Signer{b.host},
			Keys:     new(anyone),
			Exec:     testVerbs,
			Limits:   limits,
			Log:      slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- b.Serve(b.listener) }()
		test(t, b)
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func (b *bubble) login() (client *gossh.Client, socket net.Conn) {
	b.t.Helper()
	socket = b.listener.dial()
	conn, chans, reqs, err := gossh.NewClientConn(socket, "", &gossh.ClientConfig{
		User:            "user",
		Auth:            []gossh.AuthMethod{gossh.PublicKeys(b.user)},
		HostKeyCallback: gossh.FixedHostKey(b.host.PublicKey()),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return gossh.NewClient(conn, chans, reqs), socket
}

// endsAfter checks that the connection ends as long after now as it should.
func (b *bubble) endsAfter(wait func() error, want time.Duration) {
	b.t.Helper()
	began := time.Now()
	_ = wait()
	if got := time.Since(began).Round(time.Second); got != want {
		b.t.Errorf("ended after %s, want %s", got, want)
	}
}

// pass lets the bubble's time go by.
func pass(d time.Duration) { <-time.After(d) }

func TestLoginGraceTime(t *testing.T) {
	inBubble(t, Limits{}, func(t *testing.T, b *bubble) {
		silent := b.listener.dial()
		b.endsAfter(func() error { _, err := io.Copy(io.Discard, silent); return err }, time.Minute)
	})
	inBubble(t, Limits{LoginGraceTime: 5500 * time.Millisecond}, func(t *testing.T, b *bubble) {
		// Sending something, byte by byte, does not buy time.
		slow := b.listener.dial()
		b.endsAfter(func() error {
			for {
				if _, err := slow.Write([]byte("x")); err != nil {
					return err
				}
				pass(time.Second)
			}
		}, 6*time.Second) // the first write after the end is the one that fails
	})
}

func TestLoginGraceTimeEndsWithTheLogin(t *testing.T) {
	inBubble(t, Limits{}, func(t *testing.T, b *bubble) {
		client, _ := b.login()
		pass(2 * time.Minute)
		if got := runExec(t, client, "exit 3"); got.status != 3 {
			t.Errorf("got %+v", got)
		}
		client.Close()
	})
}

func TestUnusedConnectionTimeout(t *testing.T) {
	inBubble(t, Limits{ClientAliveInterval: -1}, func(t *testing.T, b *bubble) {
		client, _ := b.login()
		pass(9 * time.Minute)
		runExec(t, client, "exit 0")
		b.endsAfter(client.Wait, 10*time.Minute)
	})
}

func TestChannelTimeout(t *testing.T) {
	inBubble(t, Limits{ChannelTimeout: time.Hour}, func(t *testing.T, b *bubble) {
		client, _ := b.login()
		session, _ := client.NewSession()
		stdin, _ := session.StdinPipe()
		if err := session.Start("cat"); err != nil {
			t.Fatal(err)
		}
		pass(50 * time.Minute)
		_, _ = io.WriteString(stdin, "x")
		b.endsAfter(client.Wait, time.Hour)
	})
}

func TestMaxConnectionTime(t *testing.T) {
	inBubble(t, Limits{MaxConnectionTime: 3 * time.Minute}, func(t *testing.T, b *bubble) {
		client, _ := b.login()
		session, _ := client.NewSession()
		if err := session.Start("wait"); err != nil {
			t.Fatal(err)
		}
		b.endsAfter(client.Wait, 3*time.Minute)
	})
}

func TestClientAlive(t *testing.T) {
	inBubble(t, Limits{}, func(t *testing.T, b *bubble) {
		client, socket := b.login()
		session, _ := client.NewSession()
		if err := session.Start("wait"); err != nil {
			t.Fatal(err)
		}
		// Alive and answering, it may be silent for as long as it likes.
		pass(time.Hour)
		if n := len(b.open()); n != 1 {
			t.Fatalf("%d connections open, want the one that answers", n)
		}
		// A peer that vanished leaves a socket that swallows everything.
		socket.(*memConn).vanish()
		began := time.Now()
		for len(b.open()) > 0 {
			pass(time.Second)
		}
		if got := time.Since(began); got < 120*time.Second || got > 151*time.Second {
			t.Errorf("given up after %s, want four unanswered requests", got)
		}
		client.Close()
	})
}

func TestStartupsChance(t *testing.T) {
	limit := MaxStartups{Start: 10, Rate: 30, Full: 100}
	for n, want := range map[int]int{0: 0, 9: 0, 10: 30, 55: 65, 99: 99, 100: 100, 500: 100} {
		if got := limit.chance(n); got != want {
			t.Errorf("with %d waiting: %d%%, want %d%%", n, got, want)
		}
	}
	if got := (MaxStartups{Start: -1}).chance(1000); got != 0 {
		t.Errorf("without a limit: %d%%", got)
	}
}

func TestStartupsDropTheHeaviestSource(t *testing.T) {
	s := newStartups(MaxStartups{Start: 3, Rate: 50, Full: 4})
	s.random = func(int) int { return 99 } // never early
	friend := &client{source: "friend"}
	flood := []*client{{source: "flood"}, {source: "flood"}, {source: "flood"}, {source: "flood"}}
	var victims []*client
	for _, c := range []*client{friend, flood[0], flood[1], flood[2], flood[3]} {
		if v := s.add(c); v != nil {
			victims = append(victims, v)
		}
	}
	if !slices.Equal(victims, flood[:1]) || !slices.Contains(s.waiting, friend) {
		t.Errorf("dropped %v, left %v", victims, s.waiting)
	}
	s.random = func(int) int { return 0 }
	s.done(friend)
	s.done(friend) // closing after authenticating must not count twice
	if v := s.add(friend); v != flood[1] {
		t.Errorf("early drop took %v", v)
	}
}

func TestBadConfig(t *testing.T) {
	key := newKey(t)
	good := Config{HostKeys: []gossh.Signer{key}, Keys: new(anyone), Exec: testVerbs}
	for name, change := range map[string]func(*Config){
		"no host key":   func(c *Config) { c.HostKeys = nil },
		"no keys":       func(c *Config) { c.Keys = nil },
		"no exec":       func(c *Config) { c.Exec = nil },
		"MaxStartups":   func(c *Config) { c.Limits.MaxStartups = MaxStartups{10, 30, 5} },
		"cipher":        func(c *Config) { c.Algorithms.Ciphers = []string{"aes128-cbc"} },
		"SHA-1 MAC":     func(c *Config) { c.Algorithms.MACs = []string{"hmac-sha1"} },
		"SHA-1 kex":     func(c *Config) { c.Algorithms.KexAlgorithms = []string{"diffie-hellman-group14-sha1"} },
		"SHA-1 RSA":     func(c *Config) { c.Algorithms.PubkeyAcceptedAlgorithms = []string{"ssh-rsa"} },
		"unknown names": func(c *Config) { c.Algorithms.Ciphers = []string{"none"} },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// A session that a shutdown waited for in vain is told why it ends, and has an
// exit status.
func TestShutdownEndsWhatItWaitedForTooLong(t *testing.T) {
	inBubble(t, Limits{}, func(t *testing.T, b *bubble) {
		client, _ := b.login()
		session, _ := client.NewSession()
		var told bytes.Buffer
		session.Stderr = &told
		if _, err := session.StdinPipe(); err != nil { // never closed: cat waits in it
			t.Fatal(err)
		}
		if err := session.Start("cat"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		b.endsAfter(func() error {
			if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("shutdown: %v", err)
			}
			return nil
		}, 30*time.Second+linger) // this client does not hang up
		var exit *gossh.ExitError
		if err := session.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != statusFailure {
			t.Errorf("the session ended with %v", err)
		}
		if !strings.Contains(told.String(), "try again later") {
			t.Errorf("the client was told %q", told.String())
		}
		_ = client.Wait()
	})
}

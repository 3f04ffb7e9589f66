package sshd

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"
)

// FuzzAuthorizedKeys reads arbitrary files. Whatever stands before it, the
// key must not come in by text that no line of its own holds.
func FuzzAuthorizedKeys(f *testing.F) {
	c := newCast(f)
	for _, r := range slices.Concat(plainRows, certificateRows) {
		f.Add(c.text(r))
	}
	cert := c.signer(f, row{cert: none}).PublicKey()
	f.Fuzz(func(t *testing.T, text string) {
		table := parseFile(text, onlyPush)
		for _, key := range []gossh.PublicKey{c.key.PublicKey(), cert} {
			id, err := table.authorize(c.me, loopback, key)
			if err != nil {
				continue
			}
			named := c.key
			if _, ok := key.(*gossh.Certificate); ok {
				named = c.ca
			}
			if !strings.Contains(text, strings.Fields(named.public())[1]) {
				t.Errorf("admitted by a file that does not name it: %q", text)
			}
			if id.HasCommand && onlyPush(id.Command) != nil {
				t.Errorf("admitted with a command that is not understood: %q", text)
			}
		}
		for _, l := range table.lines {
			if again, ok := ParseLine(l.Number, l.Text); !ok || again.Comment != l.Comment {
				t.Errorf("line %q reads differently a second time", l.Text)
			}
		}
	})
}

// FuzzSplitWords checks that words, quoted, come back as they were.
func FuzzSplitWords(f *testing.F) {
	for line := range wordLines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := SplitWords(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := SplitWords(strings.Join(quoted, " "))
		if joined := strings.Join(quoted, " "); len(joined) <= MaxLine && (err != nil || !slices.Equal(words, again)) {
			t.Errorf("%q: %q, then %q, %v", line, words, again, err)
		}
	})
}

// requestNames are what a fuzzed request may be called.
var requestNames = []string{
	"exec", "shell", "subsystem", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com",
	"window-change", "signal", "xon-xoff", "eow@openssh.com", "keepalive@openssh.com", "",
}

// FuzzSession sends arbitrary requests on a channel of a connection that
// lives on: each input is a sequence of a name, flags, and a payload with its
// length in front.
func FuzzSession(f *testing.F) {
	exec := gossh.Marshal(struct{ Command string }{"echo 'a b'"})
	f.Add(slices.Concat([]byte{0, 1, byte(len(exec))}, exec, []byte{1, 1, 0}))
	f.Add([]byte{3, 1, 4, 0xff, 0xff, 0xff, 0xff, 1, 1, 0})
	f.Add([]byte{2, 1, 7, 0, 0, 0, 3, 'c', 'a', 't', 4, 0, 0, 0, 5, 0})
	user, host := newKey(f), newKey(f)
	server, err := New(Config{
		HostKeys:   []gossh.Signer{host},
		Keys:       new(anyone),
		Exec:       func(context.Context, *Session) int { return 0 },
		Subsystems: map[string]Handler{"cat": cat},
		// The client learns of a close before the server has counted it.
		Limits: Limits{MaxSessions: -1},
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	listener := newMemListener()
	go func() { _ = server.Serve(listener) }()
	conn, chans, reqs, err := gossh.NewClientConn(listener.dial(), "", &gossh.ClientConfig{
		Auth:            []gossh.AuthMethod{gossh.PublicKeys(user)},
		HostKeyCallback: gossh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		f.Fatal(err)
	}
	client := gossh.NewClient(conn, chans, reqs)
	f.Fuzz(func(t *testing.T, input []byte) {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatalf("a good channel was refused: %v", err)
		}
		go gossh.DiscardRequests(requests)
		commands := 0
		for len(input) >= 3 {
			name := requestNames[int(input[0])%len(requestNames)]
			reply := input[1]&1 == 1
			n := min(int(input[2]), len(input)-3)
			ok, err := channel.SendRequest(name, reply, input[3:3+n])
			if err == io.EOF {
				break // a command has ended
			}
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				commands++
				checkGranted(t, name, input[3:3+n])
			}
			input = input[3+n:]
		}
		if commands > 1 {
			t.Errorf("%d commands on one channel", commands)
		}
		channel.Close()
		_, _ = io.Copy(io.Discard, channel)
	})
}

func checkGranted(t *testing.T, name string, payload []byte) {
	t.Helper()
	switch name {
	case "shell":
		if len(payload) == 0 {
			return
		}
	case "exec", "subsystem":
		if len(payload) >= 4 && int(binary.BigEndian.Uint32(payload)) == len(payload)-4 {
			return
		}
	}
	t.Errorf("granted: %q %q", name, payload)
}

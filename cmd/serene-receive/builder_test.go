package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func newHostKey(t *testing.T) gossh.Signer {
	t.Helper()
	_, pem, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestWriteKnownHosts has the host key replaced, beside that of an sshd which
// somebody has put there.
func TestWriteKnownHosts(t *testing.T) {
	const addr = "localhost:22"
	file := filepath.Join(t.TempDir(), "known_hosts")
	old, current, system := newHostKey(t), newHostKey(t), newHostKey(t)
	if err := writeKnownHosts(file, addr, []gossh.Signer{old}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "localhost "+string(bytes.TrimSpace(gossh.MarshalAuthorizedKey(system.PublicKey())))...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeKnownHosts(file, addr, []gossh.Signer{current}); err != nil {
			t.Fatal(err)
		}
	}
	known, err := knownhosts.New(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key gossh.Signer
		ok  bool
	}{"old": {old, false}, "current": {current, true}, "system": {system, true}} {
		if err := known(addr, &net.TCPAddr{}, test.key.PublicKey()); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, _ := os.ReadFile(file); bytes.Count(text, []byte("\n")) != 2 {
		t.Errorf("file is\n%s", text)
	}
}

func TestLocalHub(t *testing.T) {
	for hub, want := range map[string]string{
		"ssh://builder@localhost:2222": "localhost:2222",
		"ssh://serene@localhost":       "localhost:22",
		"ssh://builder@[::1]:2222":     "[::1]:2222",
		"ssh://builder@127.0.0.2:1":    "127.0.0.2:1",
		"ssh://builder@192.0.2.1:2222": "",
		"ssh://builder@hub:2222":       "",
	} {
		if addr, ok := localHub(hub); addr != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", hub, addr, ok)
		}
	}
}

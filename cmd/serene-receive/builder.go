package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"serene/internal/config"
	"serene/internal/durable"
	"serene/internal/receive"
	"serene/sshd"
)

// builderRights is the line that a builder on this machine gets in
// authorized_keys. Whoever takes it out, or changes it, has the last word: it is
// added once, when the key is made.
const builderRights = `restrict,command="serene-receive --allow work" `

// welcomeBuilder makes what a builder that works with this state directory
// needs to come in: a key, its line in authorized_keys, and the host's key in
// known_hosts. Builders elsewhere bring their own. That it cannot be done is no
// reason not to serve: the files may be kept by somebody else.
func welcomeBuilder(c *config.Config, hostKeys []gossh.Signer, log *slog.Logger) {
	if err := makeBuilderKey(c, hostKeys, log); err != nil {
		log.Warn("the builder here has to be let in by hand", "err", err)
	}
}

func makeBuilderKey(c *config.Config, hostKeys []gossh.Signer, log *slog.Logger) error {
	addr, ok := localHub(c.Build.Hub.String())
	if !ok {
		return nil
	}
	if err := writeKnownHosts(string(c.Build.KnownHosts), addr, hostKeys); err != nil {
		return fmt.Errorf("write known hosts for the builder here: %w", err)
	}
	if _, err := os.Lstat(string(c.Build.Identity)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, text, err := newIdentity()
	if err != nil {
		return err
	}
	// The line first: after a crash in between, another key gets another line.
	if err := authorize(string(c.Receive.AuthorizedKeys), key); err != nil {
		return fmt.Errorf("authorise the builder here: %w", err)
	}
	// The builder may be another user of the same group.
	if err := durable.WriteFile(string(c.Build.Identity), text, 0o640); err != nil {
		return fmt.Errorf("write the builder's key: %w", err)
	}
	log.Info("made a key for the builder here, and a line in authorized_keys", "file", string(c.Build.Identity), "fingerprint", sshd.Fingerprint(key))
	return nil
}

// localHub returns HOST:PORT of a hub's URL if it is on this machine.
func localHub(hub string) (string, bool) {
	u, err := url.Parse(hub)
	if err != nil {
		return "", false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Hostname() != "localhost" && (err != nil || !addr.IsLoopback()) {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	return net.JoinHostPort(u.Hostname(), port), true
}

// ownHostKey is the comment of the lines in known_hosts that are written here.
const ownHostKey = " serene-receive"

// writeKnownHosts puts these keys into the file, in the place of those that it
// put there before. What else stands there stays: where the door is behind
// OpenSSH, it is sshd that the builder has to know.
func writeKnownHosts(file, addr string, keys []gossh.Signer) error {
	had, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(had)) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasSuffix(line, ownHostKey) {
			text.WriteString(line + "\n")
		}
	}
	for _, k := range keys {
		text.WriteString(knownhosts.Line([]string{addr}, k.PublicKey()) + ownHostKey + "\n")
	}
	if text.String() == string(had) {
		return nil
	}
	return durable.WriteFile(file, []byte(text.String()), 0o644)
}

func newIdentity() (gossh.PublicKey, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := gossh.MarshalPrivateKey(private, "serene-build")
	if err != nil {
		return nil, nil, err
	}
	key, err := gossh.NewPublicKey(public)
	return key, pem.EncodeToMemory(block), err
}

// authorize appends the key's line.
func authorize(file string, key gossh.PublicKey) error {
	line := builderRights + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))) + " the builder here\n"
	return receive.AppendKey(file, line)
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"serene/internal/dev/openssh"
	"serene/internal/dev/unit"
)

// site is what is measured, in one temporary directory: the two daemons that
// there always are, and a client with a key.
type site struct {
	dir, bin         string
	log              *os.File
	sockets          []*unit.Socket
	serve, receive   *unit.Unit
	ssh              *openssh.Client
	identity, public string // the client's key: file, and line
}

// config is what all have in common: what follows it goes on with [build].
const config = `[[repo]]
name = "bench"
arches = ["x86_64"]
[receive]
min_free = "64MiB"
[serve]
admin_listen = ""
[build]
hub = "ssh://builder@%s"
`

// newSite starts the daemons, with more in their configuration.
func newSite(ctx context.Context, bin, more string) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "serene-bench"); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return nil, err
	}
	for _, name := range []string{"ssh", "https"} {
		l, err := unit.Listen(name, "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s.sockets = append(s.sockets, l)
	}
	if s.ssh, err = openssh.New(filepath.Join(s.dir, "ssh")); err != nil {
		return nil, err
	}
	if s.identity, s.public, err = s.ssh.NewKey(ctx, "bench"); err != nil {
		return nil, err
	}
	for path, text := range map[string]string{
		"serene.toml":     fmt.Sprintf(config, s.sockets[0].Addr) + more,
		"authorized_keys": s.public + "\n",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, path), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s, s.startDaemons(ctx)
}

func (s *site) startDaemons(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.serve, err = s.start(ctx, "serene-serve", s.sockets[1]); err != nil {
		return err
	}
	if s.receive, err = s.start(ctx, "serene-receive", s.sockets[0]); err != nil {
		return err
	}
	addr := s.sockets[0].Addr
	if err := s.ssh.Trust(ctx, addr, filepath.Join(s.dir, "keys/ssh_host_ed25519_key")); err != nil {
		return err
	}
	return s.ssh.AddHost("serene", addr, "", s.identity)
}

func (s *site) start(ctx context.Context, name string, sockets ...*unit.Socket) (*unit.Unit, error) {
	u := &unit.Unit{
		Path:    filepath.Join(s.bin, name),
		Args:    []string{"--state", s.dir},
		Env:     []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, // a builder runs git
		Sockets: sockets,
		Log:     s.log,
	}
	return u, u.Start(ctx)
}

// close ends everything; it may be called on a site that was only begun.
func (s *site) close() {
	for _, u := range []*unit.Unit{s.receive, s.serve} {
		if u != nil {
			u.Kill()
		}
	}
	for _, l := range s.sockets {
		l.Close()
	}
	if s.log != nil {
		s.log.Close()
	}
	os.RemoveAll(s.dir)
}

// Package openssh drives the real OpenSSH programs with settings of their own:
// keys, known hosts and a client configuration in one directory, nothing read
// from the person who runs it. It never accepts a host key it was not given.
package openssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Client is a directory with an ssh_config in it.
type Client struct {
	Dir string // absolute; made by New
}

// New makes dir, if need be, and an empty configuration in it.
func New(dir string) (*Client, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &Client{Dir: dir}
	for _, file := range []string{c.Config(), c.knownHosts()} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Config is the path to give to ssh -F.
func (c *Client) Config() string { return filepath.Join(c.Dir, "ssh_config") }

func (c *Client) knownHosts() string { return filepath.Join(c.Dir, "known_hosts") }

// NewKey makes an ed25519 key without a passphrase and returns its path and its
// public line, which ends in comment. A key that is there already stays.
func (c *Client) NewKey(ctx context.Context, comment string) (path, public string, err error) {
	path = filepath.Join(c.Dir, "id_"+comment)
	if _, err := os.Stat(path); err != nil {
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path).CombinedOutput()
		if err != nil {
			return "", "", fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	b, err := os.ReadFile(path + ".pub")
	return path, strings.TrimSpace(string(b)), err
}

// Trust pins the host key of the server at addr: the public half of the private
// key in the file hostKey.
func (c *Client) Trust(ctx context.Context, addr, hostKey string) error {
	public, err := exec.CommandContext(ctx, "ssh-keygen", "-y", "-f", hostKey).Output()
	if err != nil {
		return fmt.Errorf("ssh-keygen -y -f %s: %w", hostKey, err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	return appendTo(c.knownHosts(), fmt.Sprintf("[%s]:%s %s", host, port, public))
}

// AddHost gives the server at addr a name for the command line: `ssh -F Config
// alias` logs in there with the key in the file identity, as user when not empty.
func (c *Client) AddHost(alias, addr, user, identity string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	lines := []string{
		"Host " + alias,
		"HostName " + host,
		"Port " + port,
		"IdentityFile " + identity,
		"IdentitiesOnly yes",
		"IdentityAgent none",
		"UserKnownHostsFile " + c.knownHosts(),
		"GlobalKnownHostsFile none",
		"StrictHostKeyChecking yes",
		"BatchMode yes",
		"ConnectTimeout 20",
		"LogLevel ERROR",
	}
	if user != "" {
		lines = append(lines, "User "+user)
	}
	return appendTo(c.Config(), strings.Join(lines, "\n\t")+"\n")
}

// Command is ssh to a host that AddHost named.
func (c *Client) Command(ctx context.Context, alias string, words ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ssh", append([]string{"-F", c.Config(), alias}, words...)...)
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

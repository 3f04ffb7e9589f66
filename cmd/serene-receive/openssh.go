package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"log/syslog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	gossh "golang.org/x/crypto/ssh"

	"serene/internal/config"
	"serene/internal/job"
	"serene/internal/receive"
	"serene/sshd"
)

// The exit codes of a forced command that runs no verb.
const (
	exitDenied = 3
	exitBusy   = 7
)

// forcedFlag is what serene-receive is given as the forced command of every
// key, which is why it cannot say what one key may do: the key's line in
// authorized_keys does.
const forcedFlag = "--forced"

// runForced runs the verb in SSH_ORIGINAL_COMMAND. The configuration is found
// through SERENE_CONFIG and SERENE_STATE alone: SetEnv in sshd_config may set
// them.
func runForced(args []string) int {
	// SIGPIPE is how a client that went away shows.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	log := forcedLog()
	c, err := config.Load(os.Getenv("SERENE_CONFIG"), os.Getenv("SERENE_STATE"))
	if err != nil {
		return failed(log, err)
	}
	by, err := forcedCaller(args, c)
	if err != nil {
		log.Error("forced command", "err", err)
		fmt.Fprintln(os.Stderr, "serene: what this key may do is not understood; the server's log says why")
		return exitDenied
	}
	if os.Getenv("SSH_ORIGINAL_COMMAND") == natsCommand {
		return forcedWork(ctx, c, by)
	}
	builds, err := job.OpenDir(string(c.State))
	if err != nil {
		return failed(log, err)
	}
	r, err := newReceiver(c, otherQueue(c), builds, log)
	if err != nil {
		return failed(log, err)
	}
	return r.RunLine(ctx, by, os.Getenv("SSH_ORIGINAL_COMMAND"), receive.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// unknownKey stands for the key where sshd does not say which one came.
const unknownKey = "openssh"

// forcedCaller is who sshd has let in. Its rights are in args where they are
// the forced command of its line, else its line is looked for.
func forcedCaller(args []string, c *config.Config) (by receive.Caller, err error) {
	by = receive.Caller{Key: unknownKey, Remote: remoteOf(os.Getenv("SSH_CONNECTION"))}
	id, unknown := forcedIdentity(by.Remote, c)
	if unknown == nil {
		by.Key, by.Comment = id.Fingerprint, id.Comment
	}
	switch {
	case receive.HasRightsFlag(args):
		by.Rights, err = receive.ParseRightsFlags(args)
	case unknown != nil:
		err = unknown
	default:
		by.Rights, err = rightsOf(id)
	}
	return by, err
}

// forcedIdentity finds the key that sshd, with ExposeAuthInfo, says the client
// has, and its line.
func forcedIdentity(remote string, c *config.Config) (*sshd.Identity, error) {
	key, err := authKey(os.Getenv("SSH_USER_AUTH"))
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return nil, err
	}
	// What a daemon logs about its keys at start would be logged for every
	// command here.
	keys := sshd.OpenKeyFile(string(c.Receive.AuthorizedKeys), checkCommand, slog.New(slog.DiscardHandler))
	return keys.Authorize(os.Getenv("USER"), net.TCPAddrFromAddrPort(addr), key)
}

func failed(log *slog.Logger, err error) int {
	log.Error("start", "err", err)
	fmt.Fprintln(os.Stderr, "serene: the server failed; its log says why")
	return exitBusy
}

// forcedLog logs to the system: stderr is the client's.
func forcedLog() *slog.Logger {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "serene-receive")
	if err != nil {
		return slog.New(slog.DiscardHandler) // a machine without a log
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// authKey returns the key in the file that sshd names in SSH_USER_AUTH.
func authKey(file string) (gossh.PublicKey, error) {
	if file == "" {
		return nil, errors.New("which key the client has is not known: sshd_config needs ExposeAuthInfo yes")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, ok := strings.CutPrefix(lines.Text(), "publickey ")
		if !ok {
			continue
		}
		key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(line))
		return key, err
	}
	return nil, fmt.Errorf("%s: no public key", file)
}

// remoteOf returns the client's address from SSH_CONNECTION, which is its
// address and port and the server's.
func remoteOf(connection string) string {
	part := strings.Fields(connection)
	if len(part) < 2 {
		return connection
	}
	return net.JoinHostPort(part[0], part[1])
}

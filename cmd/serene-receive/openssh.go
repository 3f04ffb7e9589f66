package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"log/syslog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	gossh "golang.org/x/crypto/ssh"

	"serene/internal/config"
	"serene/internal/receive"
	"serene/sshd"
)

// The exit codes of a forced command that runs no verb.
const (
	exitDenied = 3
	exitBusy   = 7
)

// runForced runs the verb in SSH_ORIGINAL_COMMAND with the rights that args
// give. The configuration is found through SERENE_CONFIG and SERENE_STATE
// alone: SetEnv in sshd_config may set them.
func runForced(args []string) int {
	// SIGPIPE is how a client that went away shows.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	log := forcedLog()
	rights, err := receive.ParseRightsFlags(args)
	if err != nil {
		log.Error("forced command", "err", err)
		fmt.Fprintln(os.Stderr, "serene: the forced command of this key is not understood; the server's log says why")
		return exitDenied
	}
	c, err := config.Load(os.Getenv("SERENE_CONFIG"), os.Getenv("SERENE_STATE"))
	if err != nil {
		return failed(log, err)
	}
	r, err := newReceiver(c, otherQueue(c), log)
	if err != nil {
		return failed(log, err)
	}
	by := receive.Caller{Key: keyOf(os.Getenv("SSH_USER_AUTH")), Remote: remoteOf(os.Getenv("SSH_CONNECTION")), Rights: rights}
	return r.RunLine(ctx, by, os.Getenv("SSH_ORIGINAL_COMMAND"), receive.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
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

// keyOf returns the fingerprint of the key that sshd, with ExposeAuthInfo,
// says the client has, "openssh" where it does not say.
func keyOf(authInfo string) string {
	const unknown = "openssh"
	if authInfo == "" {
		return unknown
	}
	f, err := os.Open(authInfo)
	if err != nil {
		return unknown
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, ok := strings.CutPrefix(lines.Text(), "publickey ")
		if !ok {
			continue
		}
		if key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(line)); err == nil {
			return sshd.Fingerprint(key)
		}
	}
	return unknown
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

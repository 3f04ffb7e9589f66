package sshd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// A Handler runs one session and returns its exit status, 0 to 255; anything
// else is sent as 7, as is a panic. ctx ends when the client goes away or the
// session has to stop; context.Cause says why. When Handler returns, the streams are closed: nothing
// it started may use them afterwards.
type Handler func(ctx context.Context, s *Session) int

// Session is what a [Handler] works on.
type Session struct {
	Identity *Identity
	User     string   // name the client logged in as; any name is accepted for a plain key
	Remote   net.Addr // client's address

	// Command is the exec line as sent, up to 256 KiB of any bytes; see
	// [SplitWords]. It is empty for a shell request and for a subsystem.
	Command string
	// Subsystem is the name of the requested subsystem, or empty.
	Subsystem string

	// Stdin ends with io.EOF where the client closed it, and with
	// io.ErrUnexpectedEOF where the connection broke first. A client killed
	// together with its connection in good order can still look like EOF:
	// accept only what proves itself complete.
	Stdin io.Reader
	// Stdout and Stderr block while the client does not read, and fail once
	// it is gone. Each may be used from several goroutines.
	Stdout, Stderr io.Writer
}

// Config says what a [Server] serves. HostKeys, Keys and Exec must be set.
type Config struct {
	HostKeys   []gossh.Signer     // at most one of each type is offered
	Keys       Authorizer         // who may come in
	Exec       Handler            // runs exec and shell requests
	Subsystems map[string]Handler // by name; others are refused
	Banner     string             // text shown before authentication; "" none
	Limits     Limits
	Algorithms Algorithms
	Log        *slog.Logger // nil: slog.Default
}

// Limits are named as in sshd_config(5) where it has them. A zero field means
// its default; a negative duration or count means no such limit.
type Limits struct {
	LoginGraceTime time.Duration // from accepting to authenticated; default 60s
	MaxAuthTries   int           // refused keys per connection; default 6
	MaxStartups    MaxStartups   // unauthenticated connections; default 50:30:200
	MaxSessions    int           // open session channels per connection; default 10

	MaxConnectionsPerAddress int // authenticated, per IPv4 address or IPv6 /64; default 128
	MaxConnectionsPerKey     int // authenticated, per key; default 64

	ClientAliveInterval time.Duration // silence before the client is asked for a sign of life; default 30s
	ClientAliveCountMax int           // such intervals of silence before it is given up; default 4

	UnusedConnectionTimeout time.Duration // authenticated but running no command; default 10m
	ChannelTimeout          time.Duration // commands running, but no byte in or out; default 4h
	MaxConnectionTime       time.Duration // authenticated connection in all; default none
}

// MaxStartups bounds the connections that have not authenticated yet. From
// Start of them on, one is dropped with a probability that rises from Rate
// percent to certainty at Full. As in sshd that is random early drop; unlike
// sshd it is not the newcomer that goes, but the one that has waited longest
// of the address that holds most. Silent connections so cannot shut the door.
type MaxStartups struct{ Start, Rate, Full int }

// Algorithms names what is negotiated, as ssh -Q prints them. An empty field
// means its default. Whatever relies on SHA-1 is refused.
type Algorithms struct {
	// Ciphers defaults to AES-GCM alone: the client's order decides, OpenSSH
	// prefers ciphers that are slow here, and all since 6.2 have AES-GCM.
	Ciphers []string
	// KexAlgorithms defaults to mlkem768x25519-sha256 and curve25519-sha256.
	KexAlgorithms []string
	// MACs defaults to the encrypt-then-MAC SHA-2 ones; AES-GCM needs none.
	MACs []string
	// PubkeyAcceptedAlgorithms defaults to Ed25519, ECDSA, both kinds of
	// security key, and RSA with SHA-2. Certificates go by their key's.
	PubkeyAcceptedAlgorithms []string
}

func (c *Config) check() error {
	switch {
	case len(c.HostKeys) == 0:
		return errors.New("sshd: no host key")
	case c.Keys == nil:
		return errors.New("sshd: no Authorizer")
	case c.Exec == nil:
		return errors.New("sshd: no handler for exec")
	}
	return c.Limits.MaxStartups.check()
}

func (l Limits) withDefaults() Limits {
	def(&l.LoginGraceTime, time.Minute)
	def(&l.MaxAuthTries, 6)
	def(&l.MaxSessions, 10)
	def(&l.MaxConnectionsPerAddress, 128)
	def(&l.MaxConnectionsPerKey, 64)
	def(&l.ClientAliveInterval, 30*time.Second)
	def(&l.ClientAliveCountMax, 4)
	def(&l.UnusedConnectionTimeout, 10*time.Minute)
	def(&l.ChannelTimeout, 4*time.Hour)
	def(&l.MaxConnectionTime, -1)
	def(&l.MaxStartups, MaxStartups{Start: 50, Rate: 30, Full: 200})
	return l
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

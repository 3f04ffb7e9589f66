package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"serene/internal/job"
)

// Door is the hub's SSH server, as a builder uses it: for the queue, and for
// the verbs pull, push and key. It keeps one connection, and makes another
// when that breaks. Its methods may be called from several goroutines.
type Door struct {
	addr   string
	config ssh.ClientConfig
	key    string
	log    *slog.Logger

	mu      sync.Mutex  // guards what follows
	client  *ssh.Client // nil when there is none
	trouble string      // why the queue cannot be reached, as it was last logged
}

const (
	dialWithin = 10 * time.Second
	// aliveEvery is how often the hub is asked for a sign of life, and how
	// long it may take to give it.
	aliveEvery = 10 * time.Second
	// maxReason is how much of what a verb says on stderr is kept.
	maxReason = 4 << 10
)

// OpenDoor prepares the way to ssh://USER@HOST:PORT with the private key in
// the file identity. knownHosts is a file with the host's key, as ssh has it.
func OpenDoor(hub, identity, knownHosts string, log *slog.Logger) (*Door, error) {
	u, err := url.Parse(hub)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %w", hub, err)
	}
	pem, err := os.ReadFile(identity)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("read identity %s: %w", identity, err)
	}
	known, err := knownhosts.New(knownHosts)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "22")
	}
	user := "builder"
	if u.User != nil {
		user = u.User.Username()
	}
	return &Door{addr: addr, log: log, key: ssh.FingerprintSHA256(signer.PublicKey()), config: ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: dialWithin,
		HostKeyCallback: known, HostKeyAlgorithms: algorithms(known, addr),
	}}, nil
}

// algorithms lists the kinds of keys that are known of a host, so that it shows
// one of these and not another it also has.
func algorithms(known ssh.HostKeyCallback, addr string) (all []string) {
	var unknown *knownhosts.KeyError
	if !errors.As(known(addr, &net.TCPAddr{IP: net.IPv4zero}, nobody{}), &unknown) {
		return nil
	}
	for _, k := range unknown.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, k.Key.Type())
		}
	}
	return all
}

// nobody is a key that no host has.
type nobody struct{}

func (nobody) Type() string                        { return "none" }
func (nobody) Marshal() []byte                     { return []byte("none") }
func (nobody) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// Key is the fingerprint of the identity.
func (d *Door) Key() string { return d.key }

// session opens a session, on the connection there is or on a new one.
func (d *Door) session(ctx context.Context) (*ssh.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		s, err := d.client.NewSession()
		if err == nil {
			return s, nil
		}
		d.client.Close()
		d.client = nil
	}
	client, err := d.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	d.client = client
	go d.watch(client)
	return client.NewSession()
}

func (d *Door) dial(ctx context.Context) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, d.addr, &d.config)
	if !stop() || err != nil {
		conn.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// watch closes a connection whose other end has gone without a word.
func (d *Door) watch(client *ssh.Client) {
	gone := make(chan struct{})
	go func() {
		client.Wait()
		close(gone)
	}()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(aliveEvery, func() { client.Close() })
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			client.Close()
		}
	}
}

// Close ends the connection.
func (d *Door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil
	}
	defer func() { d.client = nil }()
	return d.client.Close()
}

// Refusal is what a verb says that was not done: its exit code, as the manual
// lists them, and its reason.
type Refusal struct {
	Code   int
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// Run runs a verb with the words of argv. An error that is not a *Refusal is
// one of the connection, or of in or out.
func (d *Door) Run(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	s, err := d.session(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	reason := &bounded{left: maxReason}
	s.Stdin, s.Stdout, s.Stderr = in, out, reason
	err = s.Run(line(argv))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit) && exit.Signal() == "":
		return &Refusal{exit.ExitStatus(), lastLine(reason.String())}
	}
	return fmt.Errorf("%s: %w", argv[0], err)
}

// line puts words together so that SplitWords of the other side takes them
// apart again.
func line(argv []string) string {
	var words []string
	for _, w := range argv {
		words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// DialQueue makes a connection to the hub's queue. It is a job.Dial. NATS goes on
// trying in silence, so what is wrong is logged here, once for each reason.
func (d *Door) DialQueue() (net.Conn, error) {
	conn, err := d.dialQueue()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.trouble = ""
		d.log.Info("connected to the hub", "hub", d.addr, "key", d.key)
	case d.trouble != err.Error():
		d.trouble = err.Error()
		d.log.Warn("the hub is not reached; trying on", "hub", d.addr, "key", d.key, "err", err)
	}
	return conn, err
}

func (d *Door) dialQueue() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
	defer cancel()
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	in, err1 := s.StdinPipe()
	out, err2 := s.StdoutPipe()
	if err := errors.Join(err1, err2, s.RequestSubsystem("nats")); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the hub's queue: %w", err)
	}
	conn := &channel{s, in, out}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	token, err := job.ReadToken(conn)
	if !stop() || err != nil {
		s.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	conn.Reader = io.MultiReader(strings.NewReader(token+"\n"), out) // for who dials
	return conn, nil
}

// channel is a session as a net.Conn. It has no deadlines: whether the other
// side lives is for NATS to find out, which closes the connection if not.
type channel struct {
	session *ssh.Session
	io.Writer
	io.Reader
}

func (c *channel) Close() error                     { return c.session.Close() }
func (c *channel) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "nats", Net: "ssh"} }
func (c *channel) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "nats", Net: "ssh"} }
func (c *channel) SetDeadline(time.Time) error      { return nil }
func (c *channel) SetReadDeadline(time.Time) error  { return nil }
func (c *channel) SetWriteDeadline(time.Time) error { return nil }

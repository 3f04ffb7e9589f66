package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"serene/internal/job"
)

const (
	// startWithin is how long the embedded server may take to be there.
	startWithin = 30 * time.Second
	// maxStore bounds what the queue keeps on disk: messages are ids of jobs.
	maxStore = 256 << 20
)

// embedded is the NATS server inside this process. It listens nowhere: every
// connection is made by someone who says who is at its other end.
type embedded struct {
	ns *server.Server

	mu     sync.Mutex
	tokens map[string]*server.User // guarded by mu: of connections that have not logged in yet
}

// embed starts a server with its store in dir.
func embed(dir string, log *slog.Logger) (*embedded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	e := &embedded{tokens: make(map[string]*server.User)}
	ns, err := server.NewServer(&server.Options{
		ServerName: "serene", DontListen: true, NoSigs: true, NoSystemAccount: true,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: maxStore, JetStreamMaxMemory: 1 << 20,
		SyncAlways: true, DisableJetStreamBanner: true,
		CustomClientAuthentication: e,
	})
	if err != nil {
		return nil, fmt.Errorf("job queue: %w", err)
	}
	e.ns = ns
	ns.SetLoggerV2(&logger{log}, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(startWithin) {
		ns.Shutdown()
		return nil, fmt.Errorf("job queue: not there within %s", startWithin)
	}
	return e, nil
}

func (e *embedded) close() {
	e.ns.Shutdown()
	e.ns.WaitForShutdown()
}

// Check implements server.Authentication: a token is good once.
func (e *embedded) Check(c server.ClientAuthentication) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	token := c.GetOpts().Token
	user := e.tokens[token]
	if user == nil {
		return false
	}
	delete(e.tokens, token)
	c.RegisterUser(user)
	return true
}

// admit returns the token of a connection that user is at the end of.
func (e *embedded) admit(user *server.User) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	token := rand.Text()
	e.tokens[token] = user
	return token
}

func (e *embedded) forget(token string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tokens, token)
}

// dial makes a connection for user, at its first byte.
func (e *embedded) dial(user *server.User) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		_ = e.attach(context.Background(), far, far, user) // near sees it closed
	}()
	return near, nil
}

// attach joins a stream to the server, as user, until either ends or ctx does.
// r may have to be closed for its reader to end.
func (e *embedded) attach(ctx context.Context, r io.Reader, w io.Writer, user *server.User) error {
	token := e.admit(user)
	defer e.forget(token)
	if _, err := io.WriteString(w, token+"\n"); err != nil {
		return err
	}
	conn, err := e.ns.InProcessConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		defer conn.Close()
		_, _ = io.Copy(conn, r) // the other direction ends with conn
	}()
	_, err = io.Copy(w, conn)
	conn.Close()
	if errors.Is(err, io.ErrClosedPipe) {
		err = nil
	}
	return err
}

// hubUser may do everything.
func hubUser() *server.User { return &server.User{Username: "hub"} }

// builderUser is the builder with that key: it may take jobs for arches (nil
// for all), ask under its own name, and be asked. It may not change or read
// the queue in any other way, nor see what others say.
func builderUser(key string, arches []string) *server.User {
	if arches == nil {
		arches = []string{"*"}
	}
	publish := []string{job.WorkSubject(key, ">")}
	for _, arch := range arches {
		publish = append(publish,
			"$JS.API.CONSUMER.INFO."+job.Stream+"."+arch,
			"$JS.API.CONSUMER.MSG.NEXT."+job.Stream+"."+arch,
			"$JS.ACK."+job.Stream+"."+arch+".>",
		)
	}
	return &server.User{Username: key, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{job.Inbox(key) + ".>", job.TellSubject(key, ">")}},
		Response:  &server.ResponsePermission{MaxMsgs: 1, Expires: time.Minute},
	}}
}

// logger passes the server's troubles on. Its notices are of no use here.
type logger struct{ *slog.Logger }

func (l *logger) Noticef(string, ...any) {}
func (l *logger) Debugf(string, ...any)  {}
func (l *logger) Tracef(string, ...any)  {}
func (l *logger) Warnf(format string, v ...any) {
	l.Warn("job queue", "err", fmt.Sprintf(format, v...))
}
func (l *logger) Errorf(format string, v ...any) {
	l.Error("job queue", "err", fmt.Sprintf(format, v...))
}
func (l *logger) Fatalf(format string, v ...any) {
	l.Error("job queue", "err", fmt.Sprintf(format, v...))
}

// storeDir is where the queue of a state directory is.
func storeDir(state string) string { return filepath.Join(state, "nats") }

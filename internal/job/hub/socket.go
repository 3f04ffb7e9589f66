package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"serene/internal/job"
)

// Behind OpenSSH a session is a process of its own. It reaches the queue
// through a socket that only the user of serene-receive can open. Its first
// line says who comes: "hub" for the verbs, or "work KEY ARCH,…" for a
// builder's session ("*" for every architecture).

const socketFile = "nats.sock"

// socket accepts such sessions.
type socket struct {
	l      net.Listener
	path   string
	server *embedded
	cancel context.CancelFunc
	open   sync.WaitGroup
}

// listen makes the socket of the state directory. It gets its mode where
// nobody else can reach it, and its name after that.
func listen(state string, e *embedded) (*socket, error) {
	dir, err := os.Open(storeDir(state))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	aside := filepath.Join(storeDir(state), socketFile)
	if err := os.RemoveAll(aside); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", through(dir))
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	path := filepath.Join(state, socketFile)
	if err := errors.Join(os.Chmod(aside, 0o600), os.Rename(aside, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &socket{l: l, path: path, server: e, cancel: cancel}
	s.open.Go(func() { s.accept(ctx) })
	return s, nil
}

// through names the socket in dir in few bytes: the system takes but 108.
func through(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketFile)
}

func (s *socket) accept(ctx context.Context) {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return // closed
		}
		s.open.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			if user, err := s.introduce(conn); err == nil {
				_ = s.server.attach(ctx, conn, conn, user)
			}
		})
	}
}

// introduce reads who comes.
func (s *socket) introduce(conn net.Conn) (*server.User, error) {
	line, err := job.ReadLine(conn)
	if err != nil {
		return nil, err
	}
	word := strings.Fields(line)
	switch {
	case len(word) == 1 && word[0] == "hub":
		return hubUser(), nil
	case len(word) == 3 && word[0] == "work" && job.CheckKey(word[1]) == nil:
		return builderUser(word[1], strings.Split(word[2], ",")), nil
	}
	return nil, fmt.Errorf("not an introduction: %q", line)
}

func (s *socket) close() error {
	s.cancel()
	err := errors.Join(s.l.Close(), os.Remove(s.path))
	s.open.Wait()
	return err
}

// DialSocket makes a connection to the hub of the state directory, which is
// another process of the same user.
func DialSocket(state string) (net.Conn, error) {
	return dialSocket(state, "hub")
}

// DialSocketWork is DialSocket for a builder's session.
func DialSocketWork(state, key string, arches []string) (net.Conn, error) {
	if arches == nil {
		arches = []string{"*"}
	}
	return dialSocket(state, "work "+key+" "+strings.Join(arches, ","))
}

func dialSocket(state, introduction string) (net.Conn, error) {
	dir, err := os.Open(state)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	conn, err := net.Dial("unix", through(dir))
	if err != nil {
		return nil, job.Refuse(job.ErrBusy, "the job queue is not there: serene-receive does not run")
	}
	if _, err := conn.Write([]byte(introduction + "\n")); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

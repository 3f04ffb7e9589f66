package sshd

import (
	"context"
	"io"
	"net"
	"runtime/debug"
	"time"

	glider "github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

const (
	// statusFailure is the exit status of a handler that did not return one.
	statusFailure = 7
	// maxRefused is how many refusals a client may leave unread. One that
	// opens channels faster than it reads is cut off.
	maxRefused = 1024
)

// session is one session channel.
type session struct {
	client  *client
	id      *Identity
	channel gossh.Channel
	user    string
	remote  net.Addr
	command <-chan struct{} // closed when the handler has ended; nil while none runs
}

// serveChannel serves a channel of type session.
func serveChannel(_ *glider.Server, conn *gossh.ServerConn, open gossh.NewChannel, _ glider.Context) {
	c := conn.Permissions.ExtraData[clientKey{}].(*client)
	defer c.survive("session channel")
	// Rights are those of now, not those of when the connection began.
	id, err := c.authorize()
	if err != nil {
		c.refuse(open, gossh.Prohibited, "this key is not authorised any more")
		return
	}
	if err := c.openChannel(conn); err != nil {
		c.refuse(open, gossh.ResourceShortage, err.Error())
		return
	}
	defer c.closeChannel()
	channel, requests, err := open.Accept()
	if err != nil {
		return // the connection is gone
	}
	s := &session{client: c, id: id, channel: channel, user: conn.User(), remote: c.RemoteAddr()}
	s.serve(requests)
}

// refuseChannel refuses a channel of any other type: forwarding, X11, agent.
func refuseChannel(_ *glider.Server, conn *gossh.ServerConn, open gossh.NewChannel, _ glider.Context) {
	c := conn.Permissions.ExtraData[clientKey{}].(*client)
	defer c.survive("refused channel")
	c.refuse(open, gossh.Prohibited, "only sessions are offered")
}

func (c *client) refuse(open gossh.NewChannel, why gossh.RejectionReason, message string) {
	defer c.refused.Add(-1)
	if c.refused.Add(1) > maxRefused {
		c.Close()
		return
	}
	_ = open.Reject(why, message) // fails only where the connection is gone
}

// survive, deferred, keeps a panic from ending the process. The connection it
// happened on ends, since its state is unknown.
func (c *client) survive(where string) {
	if r := recover(); r != nil {
		c.srv.cfg.Log.Error("panic", "where", where, "remote", c.RemoteAddr().String(), "err", r, "stack", string(debug.Stack()))
		c.Close()
	}
}

// serve answers the channel's requests until the client closes it or goes
// away, then waits for the handler. Requests are answered to the very end:
// the library stalls the whole connection over one that is not.
func (s *session) serve(requests <-chan *gossh.Request) {
	ctx, cancel := context.WithCancelCause(s.client.ctx)
	defer cancel(nil)
	for req := range requests {
		handler, values := s.request(req)
		_ = req.Reply(handler != nil, nil) // fails only where the connection is gone
		if handler != nil {
			s.start(ctx, handler, values)
		}
	}
	cancel(errGone)
	if s.command != nil {
		<-s.command
	}
}

// request returns what to run for req, or nil to refuse it. The first of
// exec, shell and subsystem that is granted is the channel's one command.
func (s *session) request(req *gossh.Request) (Handler, *Session) {
	values := &Session{Identity: s.id, User: s.user, Remote: s.remote}
	handler := s.client.srv.cfg.Exec
	switch req.Type {
	case "exec":
		var exec struct{ Command string }
		if gossh.Unmarshal(req.Payload, &exec) != nil {
			return nil, nil
		}
		values.Command = exec.Command
	case "shell":
		if len(req.Payload) != 0 {
			return nil, nil
		}
	case "subsystem":
		var subsystem struct{ Name string }
		if gossh.Unmarshal(req.Payload, &subsystem) != nil {
			return nil, nil
		}
		values.Subsystem = subsystem.Name
		handler = s.client.srv.cfg.Subsystems[subsystem.Name]
	default: // pty-req, env, x11-req, auth-agent-req, signal and what else there is
		return nil, nil
	}
	if handler == nil || s.command != nil || !s.client.begin() {
		return nil, nil
	}
	return handler, values
}

// start runs handler beside the requests. It has been counted by begin.
func (s *session) start(ctx context.Context, handler Handler, values *Session) {
	ended := make(chan struct{})
	s.command = ended
	in := &input{channel: s.channel, client: s.client}
	out := &output{w: s.channel, client: s.client}
	errs := &output{w: s.channel.Stderr(), client: s.client}
	values.Stdin, values.Stdout, values.Stderr = in, out, errs
	stop := context.AfterFunc(s.client.waited, func() {
		_, _ = io.WriteString(errs, "the server is stopping: try again later\n")
		s.exit(statusFailure)
	})
	go func() {
		defer close(ended)
		defer stop()
		defer s.client.finish()
		defer s.client.survive("session end")
		began, status := time.Now(), statusFailure
		defer func() { // also where the handler left by runtime.Goexit
			out.close()
			errs.close()
			s.exit(status)
			s.client.srv.cfg.Log.Info("session ended", "key", s.id.Fingerprint, "remote", s.remote.String(),
				"command", abridged(values.Command), "subsystem", abridged(values.Subsystem), "status", status, "took", time.Since(began))
		}()
		status = s.run(ctx, handler, values)
	}()
}

// run returns handler's exit status. A panic and a number that is no status
// are failures.
func (s *session) run(ctx context.Context, handler Handler, values *Session) (status int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			s.client.srv.cfg.Log.Error("panic in a session", "key", s.id.Fingerprint, "remote", s.remote.String(),
				"command", abridged(values.Command), "err", r, "stack", string(debug.Stack()))
			status = statusFailure
			_, _ = io.WriteString(values.Stderr, "internal error\n")
		}
	}()
	status = handler(ctx, values)
	if status < 0 || status > 255 {
		s.client.srv.cfg.Log.Error("handler returned no exit status", "status", status, "command", abridged(values.Command))
		return statusFailure
	}
	return status
}

// exit sends the status, end of output, and the close, in this order: a
// client that has closed its stdin answers end of output with its own close,
// after which the library sends nothing more, the status included. Errors
// mean the client is gone, and there is nobody left to tell.
func (s *session) exit(status int) {
	_, _ = s.channel.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(status)}))
	_ = s.channel.CloseWrite()
	_ = s.channel.Close()
}

// abridged shortens for the log what a client may make as long as a packet.
func abridged(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

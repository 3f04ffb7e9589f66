package job

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A connection to the embedded queue begins with one line that the hub sends:
// the token to log in with. It is good for that connection alone, and says who
// is at its other end. Then both speak NATS. Who is not let in gets a reason in
// the token's place.

const maxLine = 1024

// refused begins a line that is no token: those are of capital letters.
const refused = "refused: "

// TurnAway gives whoever connects a reason in the token's place.
func TurnAway(w io.Writer, reason string) error {
	_, err := io.WriteString(w, refused+reason+"\n")
	return err
}

// ReadToken takes the token off conn, and nothing more. An *Error is the reason
// why there is none.
func ReadToken(conn net.Conn) (string, error) {
	line, err := ReadLine(conn)
	if reason, no := strings.CutPrefix(line, refused); no {
		return "", Refuse(ErrDenied, "%s", reason)
	}
	return line, err
}

// ReadLine takes the first line off conn, and nothing more.
func ReadLine(conn net.Conn) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); line.Len() < maxLine; {
		if _, err := conn.Read(b); err != nil {
			return "", fmt.Errorf("greeting of the job queue: %w", err)
		}
		if b[0] == '\n' {
			return line.String(), nil
		}
		line.WriteByte(b[0])
	}
	return "", errors.New("greeting of the job queue: not one")
}

// Dial makes a connection to the embedded queue, at its first byte.
type Dial func() (net.Conn, error)

// dialer lets NATS use a Dial. NATS makes one connection at a time, and asks
// for the token after each.
type dialer struct {
	dial  Dial
	token atomic.Value
}

// InProcessConn implements nats.InProcessConnProvider.
func (d *dialer) InProcessConn() (net.Conn, error) {
	conn, err := d.dial()
	if err != nil {
		return nil, err
	}
	token, err := ReadToken(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	d.token.Store(token)
	return conn, nil
}

func (d *dialer) current() string {
	token, _ := d.token.Load().(string)
	return token
}

// Connect connects to the embedded queue. key is the fingerprint of the
// builder's SSH key, "" for the hub's own side.
func Connect(name, key string, dial Dial) (*nats.Conn, error) {
	d := &dialer{dial: dial}
	return connect("nats://hub", name, key, nats.InProcessServer(d), nats.TokenHandler(d.current))
}

// ConnectURL connects to an external cluster: one URL or several, separated by
// commas.
func ConnectURL(name, key, url string) (*nats.Conn, error) {
	return connect(url, name, key)
}

// connect returns at once, and connects again for ever: whether anyone answers
// shows when something is asked.
func connect(url, name, key string, options ...nats.Option) (*nats.Conn, error) {
	options = append(options,
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		// What is asked while nobody is there fails; it is not sent much later.
		nats.ReconnectBufSize(-1),
	)
	if key != "" {
		if err := CheckKey(key); err != nil {
			return nil, err
		}
		options = append(options, nats.CustomInboxPrefix(Inbox(key)))
	}
	return nats.Connect(url, options...)
}

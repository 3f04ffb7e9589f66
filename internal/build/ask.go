package build

import (
	"bytes"
	"context"
	"errors"
	"time"
)

const (
	// askWithin is how long a question may take.
	askWithin = 10 * time.Second
	// maxAnswer is how much may be answered, in bytes.
	maxAnswer = 64 << 10
)

var errAnswer = errors.New("a program of the container goes on and on")

// ask runs a short step as root and returns what it prints. An install script may
// have put anything in the place of a program, so how long it takes and how much
// it says is not left to it.
func ask(ctx context.Context, e Engine, c Container, cmd ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var out answer
	_, err := e.Exec(ctx, c, Step{User: "root", Dir: "/", Cmd: cmd}, &out)
	return out.text.String(), err
}

// answer takes in no more than maxAnswer bytes.
type answer struct{ text bytes.Buffer }

func (a *answer) Write(b []byte) (int, error) {
	if a.text.Len()+len(b) > maxAnswer {
		return 0, errAnswer
	}
	return a.text.Write(b)
}

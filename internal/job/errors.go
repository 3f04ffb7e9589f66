package job

import (
	"errors"
	"fmt"
)

// What can be wrong with a request, by class. They travel over the wire.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")        // the job is not in a state for that
	ErrDenied   = errors.New("not allowed")     // the asker's rights, or another builder's job
	ErrTooLarge = errors.New("too large")       // over a limit
	ErrBusy     = errors.New("try again later") // nothing is wrong with the request
	ErrStale    = errors.New("out of date")     // the attempt is not the job's last one any more
)

// classes names the classes on the wire.
var classes = map[string]error{
	"not-found": ErrNotFound,
	"conflict":  ErrConflict,
	"denied":    ErrDenied,
	"too-large": ErrTooLarge,
	"busy":      ErrBusy,
	"stale":     ErrStale,
}

// Error is an error of a class whose text is the reason alone.
type Error struct {
	Class  error // one of the above; nil for the hub's own trouble
	Reason string
}

func (e *Error) Error() string { return e.Reason }
func (e *Error) Unwrap() error { return e.Class }

// Refuse returns an Error.
func Refuse(class error, format string, args ...any) error {
	return &Error{class, fmt.Sprintf(format, args...)}
}

// classOf returns the name of err's class, "" when it has none.
func classOf(err error) string {
	for name, class := range classes {
		if errors.Is(err, class) {
			return name
		}
	}
	return ""
}

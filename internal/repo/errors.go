package repo

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"serene/internal/alpm"
)

// What can be wrong with a request, by class. The class decides the exit code
// a client sees.
var (
	ErrNotFound = errors.New("not found")             // no such package, repository or generation
	ErrDenied   = errors.New("not allowed")           // the repository's rules forbid it to everyone
	ErrConflict = errors.New("conflict")              // downgrade, same version with other bytes, held
	ErrTooLarge = errors.New("too large")             // over a limit, or no space
	ErrContent  = errors.New("bad content")           // the bytes are not what they must be
	ErrBusy     = errors.New("try again later")       // nothing is wrong with the request
	ErrUsage    = errors.New("wrong use")             // the request makes no sense
	errInternal = errors.New("the repository failed") // ours; the log says more
)

// classes names the classes in outcomes, which travel between processes.
var classes = map[string]error{
	"not-found": ErrNotFound,
	"denied":    ErrDenied,
	"conflict":  ErrConflict,
	"too-large": ErrTooLarge,
	"content":   ErrContent,
	"busy":      ErrBusy,
	"usage":     ErrUsage,
}

// Classes lists the names that Outcome.Class can have.
func Classes() []string { return slices.Sorted(maps.Keys(classes)) }

// classOf returns the name of err's class, "" when it has none.
func classOf(err error) string {
	for name, class := range classes {
		if errors.Is(err, class) {
			return name
		}
	}
	return ""
}

// Error is an error of a class whose text is the reason alone: the class is
// for programs, the reason for people.
type Error struct {
	Class  error
	Reason string
}

func (r *Error) Error() string { return r.Reason }
func (r *Error) Unwrap() error { return r.Class }

func refuse(class error, format string, args ...any) error {
	return &Error{class, fmt.Sprintf(format, args...)}
}

// contentError gives faults of a package their class; other errors, such as
// those of the connection it came over, pass as they are.
func contentError(err error) error {
	var fault *alpm.Fault
	if errors.As(err, &fault) {
		class := ErrContent
		if fault.Kind == alpm.KindTooLarge {
			class = ErrTooLarge
		}
		return &Error{class, fault.Error()}
	}
	return err
}

// noSpace gives a full disk its class.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &Error{ErrTooLarge, "no space left on the server"}
	}
	return err
}

package receive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// The exit codes, as the manual lists them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitNotFound = 2
	exitDenied   = 3
	exitConflict = 4
	exitTooLarge = 5
	exitContent  = 6
	exitBusy     = 7
	exitUsage    = 64
)

// errFailed is the class of a job that ran, and failed.
var errFailed = errors.New("failed")

// exitCode is the one place where the class of an error becomes an exit code.
// An error without a class is the server's own: trying again may help.
func exitCode(err error) int {
	var fault *alpm.Fault
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.Is(err, repo.ErrUsage):
		return exitUsage
	case errors.Is(err, repo.ErrDenied):
		return exitDenied
	case errors.Is(err, repo.ErrNotFound):
		return exitNotFound
	case errors.Is(err, repo.ErrConflict):
		return exitConflict
	case errors.Is(err, repo.ErrTooLarge):
		return exitTooLarge
	case errors.Is(err, repo.ErrContent), errors.As(err, &fault):
		return exitContent
	}
	return exitBusy
}

// refuse returns an error of a class whose text is the reason alone.
func refuse(class error, format string, args ...any) error {
	return &repo.Error{Class: class, Reason: fmt.Sprintf(format, args...)}
}

// internal reports whether err is the server's own trouble. Its text may name
// paths of the server and belongs in the log.
func internal(err error) bool {
	return exitCode(err) == exitBusy && !errors.Is(err, repo.ErrBusy) && !errors.Is(err, context.Canceled)
}

// reason is what a client is told of err.
func reason(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case internal(err):
		return "the server failed; its log says why"
	}
	return refused(err).Error()
}

// refused returns the error in err's chain that stands next to its class, the
// reason itself: what wraps it says where it came up, which the client knows.
func refused(err error) error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if slices.Contains(classes, errors.Unwrap(e)) {
			return e
		}
	}
	return err
}

var classes = []error{
	repo.ErrNotFound, repo.ErrDenied, repo.ErrConflict, repo.ErrTooLarge, repo.ErrContent, repo.ErrBusy, repo.ErrUsage,
	errFailed,
}

// classOf returns the class of err; what has none is the server's own.
func classOf(err error) error {
	if i := slices.IndexFunc(classes, func(class error) bool { return errors.Is(err, class) }); i >= 0 {
		return classes[i]
	}
	if exitCode(err) == exitContent {
		return repo.ErrContent
	}
	return repo.ErrBusy
}

// oneLine makes text safe for a terminal and one line long, whatever a client
// or a package put in it.
func oneLine(text string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

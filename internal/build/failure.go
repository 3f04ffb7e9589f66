package build

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Cause says in one word why a job came to nothing.
type Cause string

// The causes that lie in the package, or in what it asked for. To try again
// without a change would end the same way.
const (
	CauseSources    Cause = "sources"    // a source could not be got or unpacked
	CauseChecksum   Cause = "checksum"   // a source is not the one the PKGBUILD means
	CausePGP        Cause = "pgp"        // a source's signature is not good
	CauseDependency Cause = "dependency" // something it needs cannot be installed
	CauseCompile    Cause = "compile"    // prepare(), build() or check() failed
	CausePackage    Cause = "package"    // package() failed, or made what is not accepted
	CauseTimeout    Cause = "timeout"
	CauseSilence    Cause = "silence" // printed nothing for too long
	CauseMemory     Cause = "memory"
	CausePids       Cause = "pids" // too many processes
	CauseDisk       Cause = "disk" // wrote more than its share
	CauseLog        Cause = "log"  // printed more than anyone can want
)

// The causes that do not.
const (
	CauseHost      Cause = "host" // the engine, the network, the machine: worth another try
	CauseCancelled Cause = "cancelled"
)

// Failure is a job's own failure, as opposed to the builder's: every other
// error of a run is trouble of the host.
type Failure struct {
	Cause Cause
	Text  string // one line, for people
}

func (f *Failure) Error() string { return string(f.Cause) + ": " + f.Text }

// CauseOf names the cause of an error that a run has returned, "" for nil.
func CauseOf(err error) Cause {
	var f *Failure
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.Cause
	case errors.Is(err, context.Canceled):
		return CauseCancelled
	default:
		return CauseHost
	}
}

// Verdict is the line that ends a log, without a newline.
func Verdict(err error) string {
	cause := CauseOf(err)
	if cause == "" {
		return "==> [verdict] done"
	}
	if cause == CauseCancelled {
		return "==> [verdict] cancelled"
	}
	text := strings.TrimPrefix(err.Error(), string(cause)+": ")
	return fmt.Sprintf("==> [verdict] failed: %s: %s", cause, oneLine(text))
}

// oneLine keeps a text with foreign parts from being more than a line.
func oneLine(s string) string {
	const most = 500
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

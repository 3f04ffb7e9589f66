// Package source brings PKGBUILDs and what is known of them to this machine:
// from the AUR, from git repositories and from tars, and it works out what has
// to be built before what.
//
// All of it is foreign. The package owns the rules by which foreign bytes become
// a directory (regular files and symbolic links that stay inside, within limits)
// and by which a name or URL somebody gave reaches git or a web server. It never
// runs, sources or evaluates anything it fetched: no hook, filter, submodule or
// PKGBUILD, and no file is checked out by git itself.
package source

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Classes of errors. Every error of this package that is not this machine's own
// trouble wraps one of them; only for ErrUnavailable may another try go better.
var (
	ErrUnavailable = errors.New("not available now") // network, timeout, a server's trouble
	ErrNotFound    = errors.New("not found")         // no such package, repository, branch, commit or path
	ErrRefused     = errors.New("refused")           // against the rules of this package
	ErrTooLarge    = errors.New("too large")         // over a limit
	ErrDependency  = errors.New("dependency")        // unsatisfiable, ambiguous or a cycle
)

// classed is an error whose class is not part of its text.
type classed struct {
	class error
	text  string
}

func (e *classed) Error() string { return e.text }
func (e *classed) Unwrap() error { return e.class }

func errorf(class error, format string, args ...any) error {
	return &classed{class, fmt.Sprintf(format, args...)}
}

// Limits bounds what one fetch may cost. A zero value means the default.
type Limits struct {
	Timeout time.Duration // of a whole fetch; default 5 minutes
	Repo    int64         // bytes of the bare repository on disk; default 512 MiB
	Tree    int64         // bytes of all files; default 256 MiB
	File    int64         // bytes of one file; default 64 MiB
	Files   int           // files, links and directories; default 10,000
	PathLen int           // bytes of one path or link target; default 1024
}

func (l Limits) withDefaults() Limits {
	d := Limits{Timeout: 5 * time.Minute, Repo: 512 << 20, Tree: 256 << 20, File: 64 << 20, Files: 10_000, PathLen: 1024}
	or(&l.Timeout, d.Timeout)
	or(&l.Repo, d.Repo)
	or(&l.Tree, d.Tree)
	or(&l.File, d.File)
	or(&l.Files, d.Files)
	or(&l.PathLen, d.PathLen)
	return l
}

func or[T comparable](v *T, fallback T) {
	if *v == *new(T) {
		*v = fallback
	}
}

// show makes foreign text fit for a one-line message.
func show(s string) string {
	const most = 256
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

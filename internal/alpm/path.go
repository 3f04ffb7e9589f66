package alpm

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkPath holds a member's path, without a directory's trailing slash, to what
// can only mean one place below the root: relative, no empty, "." or ".."
// component, UTF-8, no control characters, those that reorder text included.
func checkPath(p string, most int) error {
	switch {
	case p == "":
		return faultf(KindPathSyntax, p, "a member has an empty path")
	case len(p) > most:
		return faultf(KindPathLength, p, "path of %d bytes, the most is %d: %s", len(p), most, show(p))
	case !utf8.ValidString(p):
		return faultf(KindPathUTF8, p, "path is not UTF-8: %s", show(p))
	case strings.ContainsFunc(p, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Bidi_Control) }):
		return faultf(KindPathControl, p, "path has control characters: %s", show(p))
	case p[0] == '/':
		return faultf(KindPathEscape, p, "path is absolute: %s", show(p))
	case looksLikeSection(p) && !strings.Contains(p, "/"):
		// A files database has one path a line and no escapes for this.
		return faultf(KindPathSyntax, p, "path would be read as a database section: %s", show(p))
	}
	for component := range strings.SplitSeq(p, "/") {
		if err := checkComponent(p, component); err != nil {
			return err
		}
	}
	return nil
}

func checkComponent(p, component string) error {
	switch {
	case component == "..":
		return faultf(KindPathEscape, p, "path has a .. component: %s", show(p))
	case component == "." || component == "":
		return faultf(KindPathSyntax, p, "path has an empty or . component: %s", show(p))
	case len(component) > maxComponent:
		return faultf(KindPathLength, p, "path component of %d bytes, the most is %d: %s", len(component), maxComponent, show(p))
	}
	return nil
}

// isMetadata reports whether a root member belongs to the package manager, by
// the dot that makepkg reserves for it.
func isMetadata(p string) bool { return p[0] == '.' && !strings.Contains(p, "/") }

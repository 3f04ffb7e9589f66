package alpm

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const filesHeader = "%FILES%\n"

// AppendFiles appends the files member of a database to b. files are raw paths,
// directories with a trailing slash. They come out as repo-add lists them in a
// UTF-8 locale: escaped as bsdtar displays names, sorted by bytes, each once.
func AppendFiles(b []byte, files []string) []byte {
	b = append(b, filesHeader...)
	lines := make([]string, len(files))
	for i, file := range files {
		lines[i] = escapePath(file)
	}
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		b = append(b, line...)
		b = append(b, '\n')
	}
	return b
}

// ParseFiles reads a files member back to raw paths, byte-sorted. The error is a
// *Fault.
func ParseFiles(b []byte) ([]string, error) {
	body, ok := strings.CutPrefix(string(b), filesHeader)
	if !ok {
		return nil, faultf(KindFiles, "files", "files does not begin with %%FILES%%")
	}
	files := make([]string, 0, strings.Count(body, "\n"))
	for line := range strings.Lines(body) {
		file, ended := strings.CutSuffix(line, "\n")
		if !ended || file == "" || looksLikeSection(file) && !strings.Contains(file, "/") {
			return nil, faultf(KindFiles, "files", "files: a line is no path, or has no end: %s", show(file))
		}
		raw, ok := unescapePath(file)
		if !ok {
			return nil, faultf(KindFiles, "files", "files: no such escape: %s", show(file))
		}
		files = append(files, raw)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// escapes are the control characters that libarchive's display spells with a letter.
var escapes = map[byte]byte{'\a': 'a', '\b': 'b', '\n': 'n', '\v': 'v', '\f': 'f', '\r': 'r', '\t': 't', '\\': '\\'}

// escapePath writes a path as bsdtar prints it in a UTF-8 locale: printable
// characters as they are, everything else byte by byte.
func escapePath(p string) string {
	if isPlainPath(p) {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		if isDisplayed(r, n) {
			b.WriteString(p[i : i+n])
		} else {
			for _, c := range []byte(p[i : i+n]) {
				escapeByte(&b, c)
			}
		}
		i += n
	}
	return b.String()
}

// isPlainPath is the common case: printable ASCII without a backslash.
func isPlainPath(p string) bool {
	for i := range len(p) {
		if p[i] < ' ' || p[i] > '~' || p[i] == '\\' {
			return false
		}
	}
	return true
}

// isDisplayed is C's iswprint: every assigned character that is neither a
// control nor a line or paragraph separator, private ones included. size tells a
// real U+FFFD from a byte that is not UTF-8.
func isDisplayed(r rune, size int) bool {
	switch {
	case r == '\\', r == utf8.RuneError && size == 1:
		return false
	case r < utf8.RuneSelf:
		return r >= ' ' && r <= '~'
	}
	return !unicode.In(r, unicode.Cc, unicode.Cs, unicode.Cn, unicode.Zl, unicode.Zp)
}

func escapeByte(b *strings.Builder, c byte) {
	b.WriteByte('\\')
	if letter, ok := escapes[c]; ok {
		b.WriteByte(letter)
		return
	}
	b.Write([]byte{'0' + c>>6, '0' + c>>3&7, '0' + c&7})
}

// unescapePath undoes escapePath, in any locale's form.
func unescapePath(s string) (raw string, ok bool) {
	if !strings.Contains(s, `\`) {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		c, n, ok := unescapeByte(s[i+1:])
		if !ok {
			return "", false
		}
		b = append(b, c)
		i += n
	}
	return string(b), true
}

// unescapeByte reads what follows a backslash and returns how much of it that was.
func unescapeByte(s string) (c byte, n int, ok bool) {
	if s == "" {
		return 0, 0, false
	}
	for raw, letter := range escapes {
		if letter == s[0] {
			return raw, 1, true
		}
	}
	c, ok = octal(s)
	return c, 3, ok
}

// octal reads three octal digits, at most 377.
func octal(s string) (byte, bool) {
	if len(s) < 3 || s[0] > '3' {
		return 0, false
	}
	var c byte
	for i := range 3 {
		if s[i] < '0' || s[i] > '7' {
			return 0, false
		}
		c = c<<3 | (s[i] - '0')
	}
	return c, true
}

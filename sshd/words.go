package sshd

import (
	"errors"
	"fmt"
	"strings"
)

// MaxLine is the longest command line [SplitWords] takes, in bytes.
const MaxLine = 64 << 10

// SplitWords splits a command line into words as a POSIX shell does: blanks
// separate; single quotes keep everything; double quotes keep everything but
// backslash before $ ` " and \; a backslash elsewhere keeps the next byte.
// Nothing is expanded, and no shell ever sees the line, so $ ` ; | & < > * #
// ~ are bytes like any other. Newline and NUL are refused, as are a quote
// that stays open, a backslash at the end, and lines over [MaxLine]. The time
// taken is linear in the length.
func SplitWords(line string) ([]string, error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("command line of %d bytes: at most %d", len(line), MaxLine)
	}
	if strings.ContainsAny(line, "\n\x00") {
		return nil, errors.New("command line contains a newline or NUL")
	}
	var words []string
	for rest := strings.TrimLeft(line, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		word, after, err := nextWord(rest)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		rest = after
	}
	return words, nil
}

// nextWord reads one word from the start of s, which is not a blank.
func nextWord(s string) (word, rest string, err error) {
	var b strings.Builder
	for s != "" {
		n := strings.IndexAny(s, " \t'\"\\")
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		if s = s[n:]; s == "" || s[0] == ' ' || s[0] == '\t' {
			break
		}
		if s, err = quoted(&b, s); err != nil {
			return "", "", err
		}
	}
	return b.String(), s, nil
}

// quoted appends what the quote or backslash at the start of s stands for.
func quoted(b *strings.Builder, s string) (rest string, err error) {
	quote, s := s[0], s[1:]
	switch quote {
	case '\'':
		text, rest, ok := strings.Cut(s, "'")
		if !ok {
			return "", errors.New("command line: ' without its pair")
		}
		b.WriteString(text)
		return rest, nil
	case '"':
		return doubleQuoted(b, s)
	}
	if s == "" {
		return "", errors.New(`command line ends with \`)
	}
	b.WriteByte(s[0])
	return s[1:], nil
}

func doubleQuoted(b *strings.Builder, s string) (rest string, err error) {
	for {
		n := strings.IndexAny(s, `"\`)
		if n < 0 || n == len(s)-1 && s[n] == '\\' {
			return "", errors.New(`command line: " without its pair`)
		}
		b.WriteString(s[:n])
		if s[n] == '"' {
			return s[n+1:], nil
		}
		if next := s[n+1]; !strings.ContainsRune("$`\"\\", rune(next)) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[n+1])
		s = s[n+2:]
	}
}

package sshd

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// maxKeyLine is the longest line of an authorized_keys file, in bytes.
const maxKeyLine = 64 << 10

// ErrUnknownKey says that no line of the file names the key.
var ErrUnknownKey = errors.New("unknown key")

// Line is one key of an authorized_keys file, as sshd(8) words it.
type Line struct {
	Number  int    // from 1
	Text    string // the line itself, without blanks around it
	Options Options
	Key     gossh.PublicKey // nil where Err says that none could be read
	Comment string
	Err     error // why the key is unusable; nil where it is not
}

// ParseLine reads one line of an authorized_keys file. It returns false for
// one that names no key because it is blank or a comment. A fault is returned
// in the line's Err; whatever could be read is set all the same.
func ParseLine(number int, text string) (*Line, bool) {
	text = strings.Trim(text, " \t\r\n")
	if text == "" || text[0] == '#' {
		return nil, false
	}
	l := &Line{Number: number, Text: text}
	l.Err = l.parse(text)
	return l, true
}

func (l *Line) parse(text string) error {
	if len(text) > maxKeyLine {
		return fmt.Errorf("longer than %d bytes", maxKeyLine)
	}
	if strings.ContainsAny(text, "\x00\n") {
		return errors.New("NUL or newline in the line")
	}
	var err error
	if l.Key, l.Comment, err = parseKey(text); err != nil {
		// No key at the start: options come first, then the key.
		options, rest, quoteErr := cutOptions(text)
		if quoteErr != nil {
			return quoteErr
		}
		if l.Key, l.Comment, err = parseKey(strings.TrimLeft(rest, " \t")); err != nil {
			return err
		}
		if l.Options, err = parseOptions(options); err != nil {
			return err
		}
	}
	if _, ok := l.Key.(*gossh.Certificate); ok {
		return errors.New("a certificate instead of its authority's key")
	}
	return checkStrength(l.Key)
}

// parseKey reads a key type, a key in base64, and a comment.
func parseKey(s string) (key gossh.PublicKey, comment string, err error) {
	kind, rest := cutBlank(s)
	blob, comment := cutBlank(rest)
	raw, err := base64.StdEncoding.Strict().DecodeString(blob)
	if err != nil || len(raw) == 0 {
		return nil, "", errors.New("no key: want [options] type base64 [comment]")
	}
	if key, err = gossh.ParsePublicKey(raw); err != nil {
		return nil, "", fmt.Errorf("key: %w", err)
	}
	// Without this an option standing where the type belongs would be lost.
	if key.Type() != kind {
		return nil, "", fmt.Errorf("key type %q before a key of type %q", kind, key.Type())
	}
	return key, strings.TrimSpace(comment), nil
}

// cutBlank cuts s at the first run of blanks.
func cutBlank(s string) (before, after string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// cutOptions cuts s at the first blank outside quotes.
func cutOptions(s string) (options, rest string, err error) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && strings.HasPrefix(s[i+1:], `"`):
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return s[:i], s[i:], nil
		}
	}
	if quoted {
		return "", "", errors.New("options: a quote stays open")
	}
	return s, "", nil
}

// keyTable is a file's lines, by the key they name.
type keyTable struct {
	lines []*Line
	byKey map[string][]*Line
}

// parseFile reads a whole authorized_keys file. A command that checkCommand
// refuses makes its line unusable.
func parseFile(text string, checkCommand func(string) error) *keyTable {
	t := &keyTable{byKey: make(map[string][]*Line)}
	number := 0
	for text := range strings.Lines(text) {
		number++
		l, ok := ParseLine(number, text)
		if !ok {
			continue
		}
		if l.Err == nil && l.Options.HasCommand && checkCommand != nil {
			if err := checkCommand(l.Options.Command); err != nil {
				l.Err = fmt.Errorf("command: %w", err)
			}
		}
		t.lines = append(t.lines, l)
		if l.Key != nil {
			name := string(l.Key.Marshal())
			t.byKey[name] = append(t.byKey[name], l)
		}
	}
	return t
}

// authorize returns the identity by the first line that admits key. As in
// sshd, a line whose conditions do not hold (address, time, principals) leaves
// the decision to later ones. Unlike sshd, a faulty line naming the key ends
// the search: it may have been meant to restrict what a later line grants.
func (t *keyTable) authorize(user string, remote net.Addr, key gossh.PublicKey) (*Identity, error) {
	named := key
	if cert, ok := key.(*gossh.Certificate); ok {
		named = cert.SignatureKey
	}
	refused := ErrUnknownKey
	for _, l := range t.byKey[string(named.Marshal())] {
		if l.Err != nil {
			return nil, fmt.Errorf("line %d is unusable: %w", l.Number, l.Err)
		}
		id, err := l.admit(user, remote, key)
		if err == nil {
			return id, nil
		}
		if errors.Is(refused, ErrUnknownKey) {
			refused = fmt.Errorf("line %d: %w", l.Number, err)
		}
	}
	return nil, refused
}

// admit returns who key's holder is by this line.
func (l *Line) admit(user string, remote net.Addr, key gossh.PublicKey) (*Identity, error) {
	cert, isCert := key.(*gossh.Certificate)
	if isCert != l.Options.CertAuthority {
		return nil, ErrUnknownKey
	}
	if err := l.Options.permit(remote, time.Now()); err != nil {
		return nil, err
	}
	id := &Identity{
		Key:         key,
		Fingerprint: Fingerprint(key),
		Comment:     l.Comment,
		Line:        l.Number,
		Command:     l.Options.Command,
		HasCommand:  l.Options.HasCommand,
	}
	if !isCert {
		return id, nil
	}
	id.Key, id.KeyID, id.Authority = cert.Key, cert.KeyId, Fingerprint(l.Key)
	return id, id.certify(cert, user, remote, l.Options.Principals)
}

package receive

import (
	"io"
	"strings"
	"time"

	"serene/internal/repo"
	"serene/sshd"
)

// addKey adds the key on stdin with the rights that the flags give, none of
// which the caller may lack.
func (c *call) addKey() error {
	g, err := c.readGrant()
	if err != nil {
		return err
	}
	c.subject = sshd.Fingerprint(g.key)
	var added keyInfo
	err = keyFile(c.AuthorizedKeys).edit(func(lines []keyLine) ([]keyLine, error) {
		if held := named(lines, c.subject); len(held) > 0 {
			return nil, refuse(repo.ErrConflict, "is there already, on line %d", held[0].Number)
		}
		if err := c.mayGrant(&g, named(lines, c.by.Key)); err != nil {
			return nil, err
		}
		text, err := g.line()
		if err != nil {
			return nil, err
		}
		line, _ := sshd.ParseLine(len(lines)+1, text)
		added = describeKey(line)
		return appendLine(lines, keyLine{text, line}), nil
	})
	if err != nil {
		return err
	}
	c.log.Info("key added", "fingerprint", added.Fingerprint, "comment", added.Comment, "rights", added.Rights)
	c.keysChanged()
	return c.emit(added, added.String()+"\n")
}

// readGrant reads the flags and the key on stdin. What they come to is not
// limited yet.
func (c *call) readGrant() (g grant, err error) {
	if !c.flags.on("allow") {
		return g, c.misused("say what the key may do: --allow read, push, build, work, all or verbs")
	}
	given := make(flags)
	for name, values := range c.flags {
		if kindOf(rightsFlags, name) != unknownFlag {
			given[name] = values
		}
	}
	if g.rights, err = given.rights(); err != nil {
		return g, refuse(repo.ErrUsage, "%v", err)
	}
	g.from, g.expiry = c.flags.value("from"), c.flags.value("expiry")
	line, err := c.readKey()
	if err != nil {
		return g, err
	}
	g.key, g.comment = line.Key, line.Comment
	if c.flags.on("comment") {
		g.comment = c.flags.value("comment")
	}
	if g.comment != oneLine(g.comment) || g.comment != strings.TrimSpace(g.comment) {
		return g, refuse(repo.ErrUsage, "the comment is not one printable line")
	}
	return g, nil
}

// readKey reads one public key, as ssh-keygen writes it.
func (c *call) readKey() (*sshd.Line, error) {
	const most = 64 << 10
	data, err := io.ReadAll(io.LimitReader(c.in, most))
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return nil, c.misused("no public key on stdin")
	}
	line, ok := sshd.ParseLine(1, text)
	switch {
	case !ok || len(data) == most:
		return nil, refuse(repo.ErrContent, "not one public key on stdin")
	case line.Err != nil:
		return nil, refuse(repo.ErrContent, "not a public key: %v", line.Err)
	case !strings.HasPrefix(text, line.Key.Type()):
		return nil, refuse(repo.ErrContent, "options before the key: say them as flags")
	}
	return line, nil
}

// mayGrant makes sure that the new key may do nothing that the caller may not:
// neither by its rights, nor from elsewhere, nor for longer. mine are the lines
// of the caller's own key.
func (c *call) mayGrant(g *grant, mine []*sshd.Line) error {
	if len(mine) == 0 {
		return refuse(repo.ErrDenied, "only a key with a line of its own in authorized_keys can add others")
	}
	if err := g.rights.within(c.by.Rights); err != nil {
		return err
	}
	for _, l := range mine {
		if from := l.Options.From; from != "" && g.from == "" {
			g.from = from
		} else if from != "" && g.from != from {
			return refuse(repo.ErrDenied, "--from: this key may log in from %s itself", from)
		}
		if err := g.expireBy(l.Options.Expiry); err != nil {
			return err
		}
	}
	return nil
}

// expireBy lets the grant end at end, unless it ends sooner; zero is no end.
func (g *grant) expireBy(end time.Time) error {
	const layout = "20060102150405Z"
	if end.IsZero() {
		return nil
	}
	if g.expiry == "" {
		g.expiry = end.UTC().Format(layout)
		return nil
	}
	text, err := g.line()
	if err != nil {
		return err
	}
	if line, _ := sshd.ParseLine(1, text); line.Options.Expiry.After(end) {
		return refuse(repo.ErrDenied, "--expiry: this key expires at %s itself", end.UTC().Format(layout))
	}
	return nil
}

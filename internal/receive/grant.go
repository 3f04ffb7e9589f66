package receive

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"serene/internal/repo"
	"serene/sshd"
)

// flags lists the flags of a forced command that give r.
func (r Rights) flags() (words []string) {
	for _, axis := range []struct {
		flag string
		set  Set
	}{{"allow", r.Verbs}, {"repo", r.Repos}, {"package", r.Packages}, {"arch", r.Arches}} {
		if !axis.set.all {
			words = append(words, "--"+axis.flag, axis.set.String())
		}
	}
	if r.MaxSize > 0 {
		words = append(words, "--max-size", size(r.MaxSize))
	}
	if r.Rate != (Rate{}) {
		words = append(words, "--rate", r.Rate.String())
	}
	return words
}

// within returns an error naming the first axis on which r allows more than
// limit does. Where that is hard to tell, it does: a glob is within another
// only if it is the same one.
func (r Rights) within(limit Rights) error {
	for _, axis := range []struct {
		flag      string
		set, most Set
		has       func(string) bool
	}{
		{"allow", r.Verbs, limit.Verbs, limit.hasVerb},
		{"repo", r.Repos, limit.Repos, limit.Repos.has},
		{"package", r.Packages, limit.Packages, limit.hasGlob},
		{"arch", r.Arches, limit.Arches, limit.Arches.has},
	} {
		if axis.most.all {
			continue
		}
		if axis.set.all || slices.ContainsFunc(axis.set.words, func(w string) bool { return !axis.has(w) }) {
			return refuse(repo.ErrDenied, "--%s %s is more than this key has itself", axis.flag, axis.set)
		}
	}
	if limit.MaxSize > 0 && (r.MaxSize == 0 || r.MaxSize > limit.MaxSize) {
		return refuse(repo.ErrDenied, "--max-size: this key has %s itself", size(limit.MaxSize))
	}
	if limit.Rate != (Rate{}) && !r.Rate.within(limit.Rate) {
		return refuse(repo.ErrDenied, "--rate: this key has %s itself", limit.Rate)
	}
	return nil
}

// hasVerb reports whether r has the verb, or group of verbs, called word.
func (r Rights) hasVerb(word string) bool {
	if r.Verbs.has(word) {
		return true
	}
	return slices.ContainsFunc(verbs(), func(v verb) bool { return v.name == word && r.allowVerb(&v) })
}

func (r Rights) hasGlob(glob string) bool {
	plain := !strings.ContainsAny(glob, `*?[\`)
	return r.Packages.has(glob) || plain && r.Packages.matches(glob)
}

// within reports whether r is a rate, and neither faster than limit nor able
// to do more at once.
func (r Rate) within(limit Rate) bool {
	return r.N > 0 && r.N <= limit.N && r.Per/time.Duration(r.N) >= limit.Per/time.Duration(limit.N)
}

// grant is a line of authorized_keys in the making.
type grant struct {
	rights       Rights
	from, expiry string // as sshd(8) has them; "" none
	key          gossh.PublicKey
	comment      string
}

// harmless words need no care in authorized_keys, nor between the single quotes of
// the shell that sshd gives a forced command to.
var harmless = regexp.MustCompile(`^[A-Za-z0-9@%._+,:*?!^/\[\]-]+$`)

// line words the grant as sshd(8) does, and makes sure that it is read as it
// was meant. The forced command is there even for all rights: under OpenSSH a
// key without one has a shell.
func (g grant) line() (string, error) {
	words := []string{"serene-receive"}
	if g.rights.Verbs.all {
		words = append(words, "--allow", groupAll)
	}
	for _, word := range g.rights.flags() {
		if !harmless.MatchString(word) {
			return "", refuse(repo.ErrUsage, "%q: cannot stand in authorized_keys", word)
		}
		if strings.ContainsAny(word, "*?[]^!") {
			word = "'" + word + "'"
		}
		words = append(words, word)
	}
	text := `restrict,command="` + strings.Join(words, " ") + `"`
	for _, option := range [][2]string{{"from", g.from}, {"expiry-time", g.expiry}} {
		if option[1] == "" {
			continue
		}
		if !harmless.MatchString(option[1]) {
			return "", refuse(repo.ErrUsage, "%s %q: cannot stand in authorized_keys", option[0], option[1])
		}
		text += fmt.Sprintf(`,%s="%s"`, option[0], option[1])
	}
	text += " " + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(g.key)))
	if g.comment != "" {
		text += " " + g.comment
	}
	return text + "\n", g.check(text)
}

func (g grant) check(text string) error {
	line, ok := sshd.ParseLine(1, text)
	if !ok || line.Err != nil {
		return refuse(repo.ErrUsage, "%v", line.Err)
	}
	rights, err := ParseRights(line.Options.Command)
	if err != nil {
		return refuse(repo.ErrUsage, "%v", err)
	}
	if !slices.Equal(rights.flags(), g.rights.flags()) || line.Comment != g.comment {
		return fmt.Errorf("the line %q is not read as it was meant", text)
	}
	return nil
}

// rightsOf returns what a line gives, and an error where it gives nothing.
func rightsOf(l *sshd.Line) (Rights, error) {
	if l.Err != nil {
		return Rights{}, l.Err
	}
	if !l.Options.HasCommand {
		return AllRights(), nil
	}
	return ParseRights(l.Options.Command)
}

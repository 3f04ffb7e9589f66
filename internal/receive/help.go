package receive

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// helpRow is one verb in the manual.
type helpRow struct {
	Verb     string `json:"verb"`
	Synopsis string `json:"synopsis"`
	Help     string `json:"help"`
}

// help prints the manual of the verbs the caller may use, or of one verb.
func help(_ context.Context, c *call) error {
	if len(c.args) > 1 {
		return c.misused("one VERB at a time")
	}
	if len(c.args) == 1 {
		v, err := c.lookup(c.args[0])
		if err != nil {
			return err
		}
		return c.emit(helpRow{v.name, v.synopsis, v.help}, v.manual())
	}
	mine := slices.DeleteFunc(verbs(), func(v verb) bool { return !c.by.Rights.allowVerb(&v) })
	if c.flags.on("json") {
		for _, v := range mine {
			if err := c.emit(helpRow{v.name, v.synopsis, v.help}, ""); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := c.out.WriteString(c.manual(mine))
	return err
}

// examples begin with the verb they are of.
var examples = []string{
	"push foo-1-1-x86_64.pkg.tar.zst < foo-1-1-x86_64.pkg.tar.zst",
	"push - < packages-and-signatures.tar",
	"pull foo > foo-1-1-x86_64.pkg.tar.zst",
	"setup | sudo sh",
}

const manualEnd = `
With --json every verb prints one JSON object a line.
Exit codes: 0 done, 1 it ran and failed, 2 no such thing, 3 not allowed,
4 conflict, 5 too large, 6 bad content, 7 try again later, 64 usage.
`

// manual is what someone sees who only typed ssh HOST.
func (c *call) manual(mine []verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Hello %s! This is serene, a pacman repository that is fed over SSH.\n", oneLine(c.by.name()))
	fmt.Fprintf(&b, "T%s.\n\n", oneLine(c.by.has()[1:]))
	for _, v := range mine {
		fmt.Fprintf(&b, "  %-8s %s\n", v.name, v.help)
	}
	b.WriteString("\nssh HOST help VERB tells a verb's operands and flags. For example:\n\n")
	for _, example := range examples {
		name, _, _ := strings.Cut(example, " ")
		if slices.ContainsFunc(mine, func(v verb) bool { return v.name == name }) {
			b.WriteString("  ssh HOST " + example + "\n")
		}
	}
	b.WriteString(manualEnd)
	return b.String()
}

// flagWord is a flag in the manual.
type flagWord struct{ flag, word, help string }

// flagHelp words the flags of the verbs that have no words of their own.
var flagHelp = []flagWord{
	{"repo", "--repo R", "the repository meant, where it is not the first"},
	{"arch", "--arch A", "only the database of this architecture"},
	{"tar", "--tar", "write a tar of packages and signatures, which push - takes back; with --path, of that file and its signature"},
	{"path", "--path P", "pull: the file that is published as /P, as for pacman's XferCommand; build: the PKGBUILD's directory in the repository"},
	{"sha256", "--sha256 HEX", "refuse the package unless this is its digest"},
	{"downgrade", "--downgrade", "accept a version older than the published one"},
	{"stage", "--stage", "make it ready to try at a URL of its own; publish or drop ends that"},
	{"from", "--from R", "the repository packages leave"},
	{"to", "--to R2", "the repository they go to"},
	{"hold", "--hold WHY", "and keep newer versions of what was taken back out"},
	{"dry-run", "--dry-run", "only say what would be done"},
	{"repair", "--repair", "make again what can be derived, for keys with all rights"},
	{"announce", "--announce", "make the key that is to follow the signing key, and show it to clients"},
	{"packages", "--packages", "sign packages again, too"},
	{"no-wait", "--no-wait", "return when it is accepted, before it is published"},
	{"job", "--job ID", "the packages are what this build has made"},
	{"attempt", "--attempt N", "of the build, which counts while it is the last"},
	{"git", "--git URL", "the PKGBUILD is in a git repository, over https or ssh"},
	{"branch", "--branch B", "on this branch of it, where it is not the first"},
	{"follow", "--follow, -f", "print the log as it grows, and end as the build does"},
	{"clean", "--clean", "without what earlier builds have downloaded"},
	{"network", "--network N", "fetch: off while building; open: on throughout; none: never"},
	{"no-deps", "--no-deps", "do not build what it needs and nobody has"},
	{"all", "--all", "all that are over, not only the last"},
	{"publish", "--publish", "only publish what was made, and could not be published"},
	{"json", "--json", "print one JSON object a line"},
}

// manual is the page of one verb.
func (v *verb) manual() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n    %s\n", v.name, v.synopsis, v.help)
	words := flagHelp
	if v.name == "keys" {
		words = grantHelp
	}
	for _, f := range words {
		if kindOf(v.flags, f.flag) != unknownFlag {
			fmt.Fprintf(&b, "    %-14s %s\n", f.word, f.help)
		}
	}
	return b.String()
}

package receive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"time"

	"serene/internal/repo"
)

// verb is one word a client may say.
type verb struct {
	name     string
	synopsis string // operands and flags, as the manual shows them
	help     string // one line
	flags    string // as parseFlags takes them
	groups   []string
	free     bool // every key may use it
	run      func(context.Context, *call) error
}

// verbs is the table of verbs, in the order of the manual.
func verbs() []verb {
	read := []string{groupRead}
	work := []string{groupRead, groupWork}
	return slices.Concat([]verb{
		{"push", "FILE|- [--repo R] [--sha256 HEX] [--downgrade] [--stage] [--no-wait] [--json] [--job ID --attempt N]",
			"send the package FILE on stdin, or with - a tar of packages and signatures",
			"repo= sha256= downgrade stage no-wait json job= attempt=", []string{groupPush, groupWork}, false, push},
		{"have", "[--repo R] [--json]",
			"read sha256sum lines on stdin, print those that are missing here",
			"repo= json", work, false, have},
		{"pull", "NAME | --tar NAME… | [--tar] --path R/ARCH/FILE [--repo R] [--arch A]",
			"write a package, a tar of packages and signatures, or a published file to stdout",
			"repo= arch= tar path=", work, false, pull},
		{"list", "[--repo R] [--arch A] [--json]",
			"list the packages",
			"repo= arch= json", read, false, list},
		{"info", "NAME [--repo R] [--arch A] [--json]",
			"show what is known of a package",
			"repo= arch= json", read, false, info},
		{"files", "NAME [--repo R] [--arch A] [--json]",
			"list the files in a package",
			"repo= arch= json", read, false, files},
		{"search", "WORD… [--repo R] [--arch A] [--json]",
			"list the packages with every WORD in their name or description",
			"repo= arch= json", read, false, search},
		{"remove", "NAME… [--repo R] [--no-wait] [--json]",
			"take packages out, all or none",
			"repo= no-wait json", nil, false, remove},
		{"publish", "STAGE [--no-wait] [--json]",
			"publish what push --stage prepared",
			"no-wait json", nil, false, publish},
		{"drop", "STAGE [--no-wait] [--json]",
			"forget what push --stage prepared",
			"no-wait json", nil, false, drop},
		{"promote", "NAME… --from R --to R2 [--downgrade] [--no-wait] [--json]",
			"move packages from one repository to another",
			"from= to= downgrade no-wait json", nil, false, promote},
		{"history", "[NAME] [--repo R] [--json]",
			"list the changes, oldest first",
			"repo= json", read, false, history},
		{"rollback", "GEN | NAME VERSION [--repo R] [--hold WHY] [--no-wait] [--json]",
			"go back to an earlier generation, or version of a package",
			"repo= hold= no-wait json", nil, false, rollback},
		{"hold", "NAME WHY [--repo R] [--no-wait] [--json]",
			"keep new versions of a package, or package base, out",
			"repo= no-wait json", nil, false, hold},
		{"unhold", "NAME… [--repo R] [--no-wait] [--json]",
			"end a hold",
			"repo= no-wait json", nil, false, unhold},
		{"hello", "[--json]",
			"say who this key is and what it may do",
			"json", read, true, hello},
		{"key", "[--json]",
			"print the public key that packages and databases are signed with",
			"json", work, false, key},
		{"setup", "[--json]",
			"print a script that makes pacman on a machine use this repository",
			"json", read, false, setup},
		{"status", "[--repo R] [--arch A] [--json]",
			"show the state of every database",
			"repo= arch= json", read, false, status},
		{"gc", "[--dry-run] [--no-wait] [--json]",
			"remove generations and packages past their time",
			"dry-run no-wait json", nil, false, gc},
		{"doctor", "[--repair] [--json]",
			"check databases, packages, signatures and journal",
			"repair json", read, false, doctor},
		{"resign", "[--announce] [--packages] [--no-wait] [--json]",
			"sign databases again, with the announced key if there is one, which --announce makes",
			"announce packages no-wait json", nil, false, resign},
		{"help", "[VERB] [--json]",
			"print this manual, or a verb's",
			"json", read, true, help},
	}, keyVerbs(), completionVerbs(), jobVerbs())
}

// lookup finds the verb called name.
func (c *call) lookup(name string) (*verb, error) {
	var names []string
	if v := programNamed(name); v != nil {
		return v, nil
	}
	for _, v := range verbs() {
		if v.name == name {
			return &v, nil
		}
		if c.by.Rights.allowVerb(&v) {
			names = append(names, v.name)
		}
	}
	if len(name) > 40 {
		name = name[:40] + "…"
	}
	if near := nearest(name, names); near != "" {
		return nil, refuse(repo.ErrUsage, "no verb %q: did you mean %s?", name, near)
	}
	return nil, refuse(repo.ErrUsage, "no verb %q: help lists them", name)
}

// misused is the error for operands that are not those of the synopsis.
func (c *call) misused(what string) error {
	return refuse(repo.ErrUsage, "%s; usage: %s %s", what, c.verb.name, c.verb.synopsis)
}

// noOperands checks that the verb was given none.
func (c *call) noOperands() error {
	if len(c.args) > 0 {
		return c.misused("it takes no operand")
	}
	return nil
}

// oneOperand returns the only operand, which is a what, and makes it what
// errors are about.
func (c *call) oneOperand(what string) (string, error) {
	switch len(c.args) {
	case 0:
		return "", c.misused("no " + what + " given")
	case 1:
		c.subject = c.args[0]
		return c.args[0], nil
	}
	return "", c.misused("one " + what + " at a time")
}

// emit prints v as a line of JSON where that is asked for, else text.
func (c *call) emit(v any, text string) error {
	if !c.flags.on("json") {
		_, err := c.out.WriteString(text)
		return err
	}
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// takeRate counts this command against the key's rate. What is free to every
// key is free of that too.
func (c *call) takeRate() error {
	rate := c.by.Rights.Rate
	if rate == (Rate{}) || c.verb.free {
		return nil
	}
	// Keys that are not known apart share a bucket only at the same rate.
	id := sha256.Sum256([]byte(c.by.Key + " " + c.by.Comment + " " + rate.String()))
	wait, err := rate.take(filepath.Join(c.RateDir, hex.EncodeToString(id[:16])), time.Now())
	if err != nil {
		return err
	}
	if wait > 0 {
		return refuse(repo.ErrBusy, "this key may do %s; try again in %s", rate, wait.Round(time.Second)+time.Second)
	}
	return nil
}

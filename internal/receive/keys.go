package receive

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"serene/internal/repo"
	"serene/sshd"
)

// keyVerbs are the verbs that say who may come in.
func keyVerbs() []verb {
	return []verb{
		{"keys", "[--json] | add --allow VERB,… [--repo R,…] [--package GLOB,…] [--arch A,…] [--max-size SIZE] [--rate N/UNIT] [--from PATTERN,…] [--expiry YYYYMMDD] [--comment TEXT]",
			"list the keys that may log in; add takes another one, on stdin, with rights",
			"json comment= expiry= from= " + rightsFlags, nil, false, keys},
		{"revoke", "FINGERPRINT [--json]",
			"take a key out, and end its connections",
			"json", nil, false, revoke},
	}
}

// grantHelp words the flags of keys add.
var grantHelp = []flagWord{
	{"allow", "--allow VERB,…", "what the key may do: verbs, or read, push, build, work, all"},
	{"repo", "--repo R,…", "only in these repositories"},
	{"package", "--package GLOB,…", "only packages whose name and base match"},
	{"arch", "--arch A,…", "only for these architectures"},
	{"max-size", "--max-size SIZE", "only files up to this size"},
	{"rate", "--rate N/UNIT", "so many commands per s, m, h or d"},
	{"from", "--from PATTERN,…", "only from these addresses, as sshd(8) has from="},
	{"expiry", "--expiry DATE", "until YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]"},
	{"comment", "--comment TEXT", "whose key it is, in place of its own comment"},
	{"json", "--json", "print one JSON object a line"},
}

// keyInfo is one line of authorized_keys.
type keyInfo struct {
	Line        int      `json:"line"`
	Fingerprint string   `json:"fingerprint,omitempty"`
	Type        string   `json:"type,omitempty"`
	Comment     string   `json:"comment,omitempty"`
	Rights      []string `json:"rights"` // flags of its forced command; empty: all rights
	From        string   `json:"from,omitempty"`
	Expiry      string   `json:"expiry,omitempty"`
	Authority   bool     `json:"cert_authority,omitempty"`
	Principals  []string `json:"principals,omitempty"`
	Unusable    string   `json:"unusable,omitempty"` // why
}

func describeKey(l *sshd.Line) keyInfo {
	rights, err := rightsOf(l)
	row := keyInfo{
		Line: l.Number, Comment: l.Comment, Rights: []string{},
		From: l.Options.From, Authority: l.Options.CertAuthority, Principals: l.Options.Principals,
	}
	if l.Key != nil {
		row.Fingerprint, row.Type = sshd.Fingerprint(l.Key), l.Key.Type()
	}
	if !l.Options.Expiry.IsZero() {
		row.Expiry = l.Options.Expiry.UTC().Format(time.RFC3339)
	}
	if err != nil {
		row.Unusable = err.Error()
		return row
	}
	row.Rights = append(row.Rights, rights.flags()...)
	return row
}

func (k keyInfo) String() string {
	words := []string{strconv.Itoa(k.Line)}
	for _, word := range []string{k.Fingerprint, k.Comment} {
		if word == "" {
			word = "-"
		}
		words = append(words, word)
	}
	switch {
	case k.Unusable != "":
		return oneLine(strings.Join(append(words, "UNUSABLE: "+k.Unusable), " "))
	case len(k.Rights) == 0:
		words = append(words, "all rights")
	default:
		words = append(words, k.Rights...)
	}
	for _, option := range [][2]string{
		{"from=", k.From}, {"principals=", strings.Join(k.Principals, ",")}, {"expires=", k.Expiry},
	} {
		if option[1] != "" {
			words = append(words, option[0]+option[1])
		}
	}
	if k.Authority {
		words = append(words, "cert-authority")
	}
	return oneLine(strings.Join(words, " "))
}

// keys lists the keys, or with add makes one more.
func keys(_ context.Context, c *call) error {
	if c.AuthorizedKeys == "" {
		return refuse(repo.ErrBusy, "this server has no authorized_keys")
	}
	if slices.Equal(c.args, []string{"add"}) {
		return c.addKey()
	}
	if len(c.args) > 0 {
		return c.misused("neither none nor add")
	}
	for flag := range c.flags {
		if flag != "json" {
			return c.misused("--" + flag + " is for add")
		}
	}
	lines, err := keyFile(c.AuthorizedKeys).lines()
	if err != nil {
		return err
	}
	for _, line := range lines {
		if line.key == nil {
			continue
		}
		row := describeKey(line.key)
		if err := c.emit(row, row.String()+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// named returns the lines that name a key.
func named(lines []keyLine, fingerprint string) (found []*sshd.Line) {
	for _, line := range lines {
		if line.key != nil && line.key.Key != nil && sshd.Fingerprint(line.key.Key) == fingerprint {
			found = append(found, line.key)
		}
	}
	return found
}

// revoke takes every line of a key out.
func revoke(_ context.Context, c *call) error {
	fingerprint, err := c.oneOperand("FINGERPRINT")
	if err != nil {
		return err
	}
	if !strings.Contains(fingerprint, ":") {
		fingerprint = "SHA256:" + fingerprint
	}
	if fingerprint == c.by.Key {
		return refuse(repo.ErrConflict, "that is the key you came with; come with another to take it out")
	}
	var gone []*sshd.Line
	err = keyFile(c.AuthorizedKeys).edit(func(lines []keyLine) ([]keyLine, error) {
		if gone = named(lines, fingerprint); len(gone) == 0 {
			return nil, refuse(repo.ErrNotFound, "no such key")
		}
		for _, l := range gone {
			if err := c.mayRevoke(l); err != nil {
				return nil, err
			}
		}
		return slices.DeleteFunc(lines, func(line keyLine) bool { return slices.Contains(gone, line.key) }), nil
	})
	if err != nil {
		return err
	}
	c.log.Info("key revoked", "fingerprint", fingerprint)
	c.keysChanged()
	for _, l := range gone {
		row := describeKey(l)
		if err := c.emit(row, fmt.Sprintf("revoked %s\n", row)); err != nil {
			return err
		}
	}
	return nil
}

// mayRevoke refuses a caller to take out a key that may do more than itself.
func (c *call) mayRevoke(l *sshd.Line) error {
	rights, err := rightsOf(l)
	if err != nil {
		rights = AllRights() // as was meant, perhaps
	}
	if rights.within(c.by.Rights) != nil {
		return refuse(repo.ErrDenied, "that key may do more than yours")
	}
	return nil
}

// keysChanged has the server look at its keys now, where it is ours.
func (c *call) keysChanged() {
	if c.KeysChanged != nil {
		c.KeysChanged()
	}
}

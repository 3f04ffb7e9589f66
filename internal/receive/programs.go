package receive

import (
	"context"
	"path"
	"slices"
	"strings"

	"serene/internal/repo"
)

// programs are what stock clients ask a server to run, and what is done
// instead: nothing is run. Each is open to a key with any of the verbs that it
// stands for, which are asked about file by file.
func programs() []verb {
	standsFor := []string{"push", "pull", "list", groupRead, groupPush, groupWork}
	return []verb{
		{name: "scp", synopsis: "scp FILE… HOST:/R/ | scp HOST:/R/ARCH/FILE .", help: "send packages and signatures, all or none; fetch published files",
			groups: standsFor, flags: ownWords, run: scp},
		{name: "sftp", synopsis: "sftp HOST: put FILE /R/ | reput FILE /R/ | ls /R/ARCH | get /R/ARCH/FILE", help: "the same, and go on with what broke off",
			groups: standsFor, flags: ownWords, run: sftp},
		{name: "rsync", synopsis: "scp FILE… HOST:/R/", help: "is not spoken here",
			free: true, flags: ownWords, run: rsync},
	}
}

// ownWords in place of flags: the words are the program's own, and not parsed.
const ownWords = "*"

// programNamed returns what answers for the program that a client names. sshd
// names an SFTP server by its path.
func programNamed(word string) *verb {
	name := path.Base(word)
	if name == "sftp-server" || name == "internal-sftp" {
		name = "sftp"
	}
	all := programs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// theVerb returns the verb called name, which there is.
func theVerb(name string) *verb {
	all := verbs()
	return &all[slices.IndexFunc(all, func(v verb) bool { return v.name == name })]
}

// rsync tells what to use instead: rsync writes files where it likes, block by
// block, and could not be held to checking each.
func rsync(_ context.Context, c *call) error {
	where := "/" + c.Store.Default().Name + "/"
	sends := true
	for _, word := range c.args {
		sends = sends && word != "--sender"
	}
	if n := len(c.args); n > 0 && !strings.HasPrefix(c.args[n-1], "-") {
		where = c.args[n-1]
	}
	if sends {
		return refuse(repo.ErrUsage, "not spoken here; use: scp FILE… HOST:%s", where)
	}
	return refuse(repo.ErrUsage, "not spoken here; use: scp HOST:%s .", where)
}

package alpm

import (
	"errors"
	"fmt"
	"strings"
)

// The grammars of values that only .SRCINFO has. Sources are the ones that
// matter: makepkg hands them to curl, git and others.

// sourceSchemes are what makepkg can be made to download with, and the two that
// stand for "a file the user has to put there". Nothing that runs a command or
// names a file of the machine is among them.
var sourceSchemes = map[string]bool{
	"http": true, "https": true, "ftp": true, "ftps": true, "sftp": true, "scp": true, "rsync": true,
	"local": true, "manual": true,
	"git": true, "hg": true, "svn": true, "bzr": true, "fossil": true,
}

// vcsTransports are what may follow "git+" and its like.
var vcsTransports = map[string]map[string]bool{
	"git":    {"http": true, "https": true, "ssh": true, "git": true},
	"hg":     {"http": true, "https": true, "ssh": true},
	"svn":    {"http": true, "https": true, "ssh": true, "svn": true},
	"bzr":    {"http": true, "https": true, "ssh": true, "sftp": true, "bzr": true},
	"fossil": {"http": true, "https": true, "ssh": true},
}

// checkSource takes "URL", "NAME::URL" or a path beside the PKGBUILD.
func checkSource(s string) error {
	name, url, named := strings.Cut(s, "::")
	if !named {
		url = s
	} else if err := checkSourceName(name); err != nil {
		return fmt.Errorf("%s: %w", show(s), err)
	}
	if lp, ok := strings.CutPrefix(url, "bzr+lp:"); ok {
		return checkBeside(lp) // Launchpad's short form, the one URL without a double slash
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok && named {
		// Not a rename: makepkg would look for NAME, and others see a helper of
		// git's ("ext::COMMAND").
		return fmt.Errorf("%s has a name for something that is not fetched", show(s))
	}
	if !ok {
		return checkBeside(url)
	}
	if err := checkScheme(scheme); err != nil {
		return fmt.Errorf("%s: %w", show(s), err)
	}
	// A host or user beginning with a hyphen is an option to ssh and others.
	host := rest[:indexOrLen(rest, "/?#")]
	if i := strings.LastIndexByte(host, '@'); host == "" || host[0] == '-' || strings.HasPrefix(host[i+1:], "-") {
		return fmt.Errorf("%s names no host", show(s))
	}
	if file := rest[strings.LastIndexByte(rest, '/')+1:]; !named && file != "" && checkSourceName(file) != nil {
		return fmt.Errorf("%s: %w", show(s), checkSourceName(file))
	}
	return nil
}

func checkScheme(scheme string) error {
	vcs, transport, ok := strings.Cut(scheme, "+")
	if !sourceSchemes[vcs] || ok && !vcsTransports[vcs][transport] {
		return fmt.Errorf("nothing is fetched by %s", show(scheme))
	}
	return nil
}

// checkSourceName takes what can name a file in the directory of sources.
func checkSourceName(s string) error {
	if s == "" || s == "." || s == ".." || s[0] == '-' || strings.Contains(s, "/") {
		return fmt.Errorf("%s does not name a file", show(s))
	}
	return nil
}

// checkBeside takes the path of a file in the directory of the PKGBUILD.
func checkBeside(s string) error {
	if strings.HasPrefix(s, "-") {
		return fmt.Errorf("%s looks like an option", show(s))
	}
	return checkPath(s, DefaultLimits().PathLen)
}

// homepageSchemes leaves out what a browser would run as a script.
var homepageSchemes = map[string]bool{
	"http": true, "https": true, "ftp": true, "git": true, "svn": true, "ssh": true, "gopher": true, "gemini": true,
}

// checkHomepage takes a web address, or a text that is none: people write
// "example.org".
func checkHomepage(s string) error {
	if scheme, _, ok := strings.Cut(s, ":"); ok && !homepageSchemes[strings.ToLower(scheme)] {
		return fmt.Errorf("%s is not a web address", show(s))
	}
	return nil
}

func checkPkgVer(s string) error {
	if strings.ContainsFunc(s, notVersionRune) {
		return fmt.Errorf("%s: want letters, digits and ._+~^", show(s))
	}
	return nil
}

func checkEpoch(s string) error {
	if !isDigits(s) {
		return fmt.Errorf("%s is not a number", show(s))
	}
	return nil
}

func checkOption(s string) error {
	name := strings.TrimPrefix(s, "!")
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isAlnum(r) && r != '_' && r != '-' }) {
		return fmt.Errorf("%s is not an option", show(s))
	}
	return nil
}

// checkPGPKey takes a fingerprint, or the 16 digits of a long key ID. A shorter
// one names nobody: anyone can make a key that has it.
func checkPGPKey(s string) error {
	if len(s) < 16 || len(s) > 64 || !isHex(s) {
		return fmt.Errorf("%s is not a fingerprint", show(s))
	}
	return nil
}

// sumDigits are the digits of each kind of checksum; cksum's are decimal and few.
var sumDigits = map[string]int{
	"ck": 10, "md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128, "b2": 128,
}

func checkSum(algorithm, s string) error {
	switch n := sumDigits[algorithm]; {
	case s == "SKIP":
	case algorithm == "ck" && (len(s) > n || !isDigits(s)), algorithm != "ck" && len(s) != n, !isHex(s):
		return errors.New(show(s) + " is no such checksum")
	}
	return nil
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// indexOrLen is the index of the first of chars in s, or the length of s.
func indexOrLen(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}

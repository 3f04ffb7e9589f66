package config

import (
	"path"
	"regexp"
)

// matched reports the value error of text that re does not match.
func matched(re *regexp.Regexp, text []byte, accepts string) error {
	if re.Match(text) {
		return nil
	}
	return &valueError{string(text), accepts}
}

// RepoName is the name of a repository. The grammar is narrower than pacman's,
// so that a name is also a safe path and URL segment.
type RepoName string

var repoName = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`)

// UnmarshalText refuses "local" too, under which pacman keeps what is
// installed, and "stage", under which staged sets have their URLs.
func (r *RepoName) UnmarshalText(b []byte) error {
	*r = RepoName(b)
	const accepts = `a name of a-z, 0-9, ".", "_", "+" and "-", at most 64 of them, beginning with a letter or digit, and not "local" or "stage"`
	if s := string(b); s == "local" || s == "stage" {
		return &valueError{s, accepts}
	}
	return matched(repoName, b, accepts)
}

// Arch is one CPU architecture.
type Arch string

var arch = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// UnmarshalText refuses "any", which is no architecture to publish for, and
// "pool", which is the directory beside them.
func (a *Arch) UnmarshalText(b []byte) error {
	*a = Arch(b)
	const accepts = `an architecture such as "x86_64" or "aarch64" ("any" packages are listed for each)`
	if s := string(b); s == "any" || s == "pool" {
		return &valueError{s, accepts}
	}
	return matched(arch, b, accepts)
}

// Domain is a DNS name with at least one dot, or empty.
type Domain string

var domain = regexp.MustCompile(`^$|^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// UnmarshalText checks the form only.
func (d *Domain) UnmarshalText(b []byte) error {
	*d = Domain(b)
	return matched(domain, b, `a domain name in lower case such as "repo.example.org"`)
}

// Host is a DNS name or an address, with a port where it is not the scheme's
// own.
type Host string

var host = regexp.MustCompile(`^([a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(:[1-9][0-9]{0,4})?$`)

// UnmarshalText checks the form only.
func (h *Host) UnmarshalText(b []byte) error {
	*h = Host(b)
	return matched(host, b, `a host in lower case such as "git.lan", "git.lan:3000" or "[fd00::1]:3000"`)
}

// Image is a container image's reference, or empty.
type Image string

var image = regexp.MustCompile(`^$|^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$`)

// UnmarshalText checks that it can stand where a program expects an image.
func (i *Image) UnmarshalText(b []byte) error {
	*i = Image(b)
	return matched(image, b, `an image such as "docker.io/library/archlinux:base-devel", or "" for the one in the binary`)
}

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogAuto LogFormat = ""
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

var logFormat = regexp.MustCompile(`^(|text|json)$`)

// UnmarshalText takes one of the words above.
func (l *LogFormat) UnmarshalText(b []byte) error {
	*l = LogFormat(b)
	return matched(logFormat, b, `"text", "json", or "" for text on a terminal and JSON otherwise`)
}

// Network is what a build may reach.
type Network string

// The networks.
const (
	NetworkFetch Network = "fetch"
	NetworkOpen  Network = "open"
	NetworkNone  Network = "none"
)

var network = regexp.MustCompile(`^(fetch|open|none)$`)

// UnmarshalText takes one of the words above.
func (n *Network) UnmarshalText(b []byte) error {
	*n = Network(b)
	return matched(network, b, `"fetch", "open" or "none"`)
}

// Gate is what an upstream change has to pass.
type Gate string

// The gates.
const (
	GateReview Gate = "review"
	GateAge    Gate = "age"
	GateOff    Gate = "off"
)

var gate = regexp.MustCompile(`^(review|age|off)$`)

// UnmarshalText takes one of the words above.
func (g *Gate) UnmarshalText(b []byte) error {
	*g = Gate(b)
	return matched(gate, b, `"review", "age" or "off"`)
}

// Rule is what a change comes to that breaks a rule on its result.
type Rule string

// What a rule does.
const (
	RuleRefuse Rule = "refuse"
	RuleWarn   Rule = "warn"
	RuleOff    Rule = "off"
)

var rule = regexp.MustCompile(`^(refuse|warn|off)$`)

// UnmarshalText takes one of the words above.
func (r *Rule) UnmarshalText(b []byte) error {
	*r = Rule(b)
	return matched(rule, b, `"refuse", "warn" or "off"`)
}

// Glob matches names of packages, as path.Match does.
type Glob string

// UnmarshalText refuses a glob that matches nothing, as it is malformed.
func (g *Glob) UnmarshalText(b []byte) error {
	*g = Glob(b)
	if _, err := path.Match(string(b), ""); err != nil || len(b) == 0 {
		return &valueError{string(b), `a glob such as "python-*" or "linux-lt[sx]"`}
	}
	return nil
}

// DatabaseURL is the URL of a sync database, in which "$arch" stands for the
// architecture.
type DatabaseURL string

var databaseURL = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]+/[^\s?#]*\.(db|files)(\.tar\.[a-z0-9]+)?$`)

// UnmarshalText checks the form only.
func (u *DatabaseURL) UnmarshalText(b []byte) error {
	*u = DatabaseURL(b)
	return matched(databaseURL, b, `the URL of a database such as "https://mirror.example.org/core/os/$arch/core.db"`)
}

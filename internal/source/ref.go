package source

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// Kinds of references.
const (
	KindAUR = "aur" // a package base's repository in the AUR
	KindGit = "git" // any git repository
	KindTar = "tar" // a directory that somebody sent; nothing to fetch
)

// Ref says where a PKGBUILD is.
type Ref struct {
	Kind   string `json:"kind"`
	URL    string `json:"url,omitempty"`    // of the git repository
	Branch string `json:"branch,omitempty"` // "" for what the repository's HEAD names
	Commit string `json:"commit,omitempty"` // 40 lower hex digits; "" for the tip of Branch
	Path   string `json:"path,omitempty"`   // directory of the PKGBUILD in the repository; "" for its root
	Base   string `json:"base,omitempty"`   // package base; asked of the .SRCINFO when given
}

// Allow says which URLs are taken besides https and ssh.
type Allow struct {
	HTTP []string // hosts (with ":port" where the URL has one) to reach over plain http; loopback addresses need not be listed
	File bool     // file:///… of this machine
}

// Check reports whether the reference may be fetched at all, without fetching
// it. Everything in a reference that passes can be handed to git as an argument.
func (r Ref) Check(allow Allow) error {
	if r.Kind != KindAUR && r.Kind != KindGit {
		return errorf(ErrRefused, "nothing to fetch for a source of kind %s", show(r.Kind))
	}
	if err := allow.check(r.URL); err != nil {
		return err
	}
	if r.Branch != "" && !validBranch(r.Branch) {
		return errorf(ErrRefused, "branch %s: not a name for a branch", show(r.Branch))
	}
	if r.Commit != "" && (len(r.Commit) != 40 || strings.Trim(r.Commit, "0123456789abcdef") != "") {
		return errorf(ErrRefused, "commit %s: want 40 lower hex digits", show(r.Commit))
	}
	if r.Path != "" {
		if err := checkPath(r.Path, Limits{}.withDefaults().PathLen); err != nil {
			return err
		}
	}
	if r.Base != "" || r.Kind == KindAUR {
		return wrapRefused(alpm.ValidName(r.Base))
	}
	return nil
}

func wrapRefused(err error) error {
	if err == nil {
		return nil
	}
	return errorf(ErrRefused, "%s", err)
}

// check takes https, ssh and what a lists, in the form SCHEME://HOST/PATH only.
// git knows others ("host:path", "ext::COMMAND"), and some of them run programs.
func (a Allow) check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > 2000 || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return errorf(ErrRefused, "%s is not a URL", show(raw))
	}
	if !strings.HasPrefix(raw, u.Scheme+"://") || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") || u.Path == "" {
		return errorf(ErrRefused, "%s: want SCHEME://HOST/PATH and nothing more", show(raw))
	}
	if err := a.checkScheme(u); err != nil {
		return err
	}
	if u.Scheme != "file" && !validHost(u) {
		return errorf(ErrRefused, "%s: no such host", show(raw))
	}
	return checkUser(u)
}

func (a Allow) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme == "https", u.Scheme == "ssh":
	case u.Scheme == "http" && (isLoopback(u.Hostname()) || slices.Contains(a.HTTP, u.Host)):
	case u.Scheme == "file" && a.File && u.Host == "":
	case u.Scheme == "http":
		return errorf(ErrRefused, "%s: plain http is taken from loopback addresses and the hosts in build.git_http only; use https", show(u.Redacted()))
	default:
		return errorf(ErrRefused, "%s: git is spoken over https and ssh, not %s", show(u.Redacted()), show(u.Scheme))
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func validHost(u *url.URL) bool {
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return !strings.Contains(host, "%")
	}
	return host != "" && host[0] != '-' && !strings.ContainsFunc(host, func(r rune) bool { return !isAlnum(r) && r != '.' && r != '-' && r != '_' })
}

// checkUser allows a user name for ssh. A password or token in a URL would end
// up in logs and in what we publish about a package's origin.
func checkUser(u *url.URL) error {
	if u.User == nil {
		return nil
	}
	name := u.User.Username()
	if _, secret := u.User.Password(); secret || u.Scheme != "ssh" {
		return errorf(ErrRefused, "%s: credentials do not belong in a URL", show(u.Redacted()))
	}
	if name == "" || name[0] == '-' || strings.ContainsFunc(name, func(r rune) bool { return !isAlnum(r) && !strings.ContainsRune("._-", r) }) {
		return errorf(ErrRefused, "%s: not a user's name", show(name))
	}
	return nil
}

// validBranch is git-check-ref-format(1), narrowed to printable ASCII.
func validBranch(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '-' || strings.HasSuffix(s, ".") || s == "@" || strings.Contains(s, "..") || strings.Contains(s, "@{") {
		return false
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !isAlnum(r) && !strings.ContainsRune("._/+@#=,%-", r) }) {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

func isAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

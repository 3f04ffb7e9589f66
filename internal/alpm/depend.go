package alpm

import "strings"

// KindDepend is the kind of fault of a text that is no dependency.
const KindDepend = "dependency"

// Dep is a dependency: a name, and perhaps a bound on its version. The name may
// be a package's or what a package provides; a shared library's ("libfoo.so") is
// a name like any other.
type Dep struct {
	Name    string
	Op      string  // "<", "<=", "=", ">=" or ">"; "" when any version will do
	Version Version // often without a pkgrel; "" when Op is
}

// ParseDep takes "NAME" or "NAME OP VERSION", written without spaces, apart. The
// error is a *Fault.
func ParseDep(s string) (Dep, error) {
	if err := checkDep(s); err != nil {
		return Dep{}, faultf(KindDepend, "", "dependency %s", err)
	}
	i := strings.IndexAny(s, "<>=")
	if i < 0 {
		return Dep{Name: s}, nil
	}
	n := 1
	if s[i] != '=' && strings.HasPrefix(s[i+1:], "=") {
		n = 2
	}
	return Dep{Name: s[:i], Op: s[i : i+n], Version: Version(s[i+n:])}, nil
}

// String puts the dependency together again.
func (d Dep) String() string { return d.Name + d.Op + string(d.Version) }

// SatisfiedBy reports whether a package of that name and version, which provides
// those names ("NAME" or "NAME=VERSION"), satisfies d. As in libalpm, a provided
// name without a version satisfies only a dependency that does not ask for one.
func (d Dep) SatisfiedBy(name string, version Version, provides []string) bool {
	if d.Name == name && d.admits(version) {
		return true
	}
	for _, p := range provides {
		name, version, versioned := strings.Cut(p, "=")
		if name == d.Name && (d.Op == "" || versioned && d.admits(Version(version))) {
			return true
		}
	}
	return false
}

// admits reports whether v is within the bound.
func (d Dep) admits(v Version) bool {
	if d.Op == "" {
		return true
	}
	switch c := v.Compare(d.Version); {
	case c < 0:
		return d.Op[0] == '<'
	case c > 0:
		return d.Op[0] == '>'
	default:
		return strings.HasSuffix(d.Op, "=")
	}
}

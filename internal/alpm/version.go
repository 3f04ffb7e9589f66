package alpm

import (
	"cmp"
	"strings"
)

// Version is a full package version, "[EPOCH:]PKGVER-PKGREL".
type Version string

// Check reports whether v follows the grammar: epoch of digits, pkgver of
// [A-Za-z0-9._+~^], pkgrel of digits with at most one dot. That is narrower
// than makepkg's, because pacman pastes the version into URLs unescaped. An
// epoch of 0 is left out, as makepkg does: "0:1-1" would be "1-1" once more,
// under another file name.
func (v Version) Check() error {
	rest := string(v)
	if epoch, after, ok := strings.Cut(rest, ":"); ok {
		if !isDigits(epoch) {
			return faultf(KindVersion, "", "version %s: epoch is not a number", show(string(v)))
		}
		if strings.Trim(epoch, "0") == "" {
			return faultf(KindVersion, "", "version %s: an epoch of 0 is not written", show(string(v)))
		}
		rest = after
	}
	ver, rel, ok := strings.Cut(rest, "-")
	if !ok {
		return faultf(KindVersion, "", "version %s: has no pkgrel", show(string(v)))
	}
	if !madeOf(ver, versionChars) {
		return faultf(KindVersion, "", "version %s: pkgver may only hold letters, digits and ._+~^", show(string(v)))
	}
	major, minor, dotted := strings.Cut(rel, ".")
	if !isDigits(major) || dotted && !isDigits(minor) {
		return faultf(KindVersion, "", "version %s: pkgrel must be N or N.N", show(string(v)))
	}
	return nil
}

const (
	digits       = "0123456789"
	alnums       = digits + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	versionChars = alnums + "._+~^"
)

// madeOf reports whether s is not empty and made of these ASCII characters only.
func madeOf(s, chars string) bool { return s != "" && strings.TrimLeft(s, chars) == "" }

func isDigits(s string) bool { return madeOf(s, digits) }

func notVersionRune(r rune) bool { return !strings.ContainsRune(versionChars, r) }

func isAlnum(r rune) bool { return strings.ContainsRune(alnums, r) }

// Compare orders versions as pacman's vercmp does: -1 when v is older than w,
// 0 when equal, 1 when newer. Equal is not the same string ("1.0-1" and
// "1.00-1"), and a version without pkgrel equals every pkgrel of it.
func (v Version) Compare(w Version) int {
	if v == w {
		return 0
	}
	epoch1, ver1, rel1 := v.split()
	epoch2, ver2, rel2 := w.split()
	if c := rpmCompare(epoch1, epoch2); c != 0 {
		return c
	}
	if c := rpmCompare(ver1, ver2); c != 0 {
		return c
	}
	if rel1 == nil || rel2 == nil {
		return 0
	}
	return rpmCompare(*rel1, *rel2)
}

// split takes any string apart as libalpm's parseEVR does. release is nil when
// there is none, which differs from an empty one.
func (v Version) split() (epoch, version string, release *string) {
	epoch, version = "0", string(v)
	rest := strings.TrimLeft(version, digits)
	if strings.HasPrefix(rest, ":") {
		if number := version[:len(version)-len(rest)]; number != "" {
			epoch = number
		}
		version = rest[1:]
	}
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		after := rest[i+1:]
		version, release = version[:len(version)-len(after)-1], &after
	}
	return epoch, version, release
}

// rpmCompare compares segment by segment: runs of digits or of letters, set
// apart by any other bytes, of which only the number matters.
func rpmCompare(a, b string) int {
	if a == b {
		return 0
	}
	for a != "" && b != "" {
		sep1, rest1 := cutSeparators(a)
		sep2, rest2 := cutSeparators(b)
		a, b = rest1, rest2
		if a == "" || b == "" {
			break
		}
		if sep1 != sep2 {
			return cmp.Compare(sep1, sep2)
		}
		kind := isLetter
		if isDigit(a[0]) {
			kind = isDigit
		}
		var seg1, seg2 string
		seg1, a = cutRun(a, kind)
		seg2, b = cutRun(b, kind)
		if c := compareSegments(seg1, seg2); c != 0 {
			return c
		}
	}
	return compareRests(a, b)
}

// compareSegments compares a segment with one of its own kind, or with nothing
// where the other side has the other kind: numbers are newer than letters.
func compareSegments(a, b string) int {
	numeric := isDigit(a[0])
	switch {
	case b == "" && numeric:
		return 1
	case b == "":
		return -1
	case !numeric:
		return strings.Compare(a, b)
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// compareRests decides when one side has ended: a rest of letters ("rc", "beta")
// is older than nothing, any other rest is newer.
func compareRests(a, b string) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "" && !isLetter(b[0]), a != "" && isLetter(a[0]):
		return -1
	default:
		return 1
	}
}

func cutSeparators(s string) (n int, rest string) {
	for n < len(s) && !isDigit(s[n]) && !isLetter(s[n]) {
		n++
	}
	return n, s[n:]
}

func cutRun(s string, in func(byte) bool) (run, rest string) {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

package alpm

import "strings"

// FileName is the name of a package file taken apart:
// NAME-[EPOCH:]PKGVER-PKGREL-ARCH.pkg.tar[.COMPRESSION].
type FileName struct {
	Name    string
	Version Version
	Arch    string
	Ext     string // ".pkg.tar.zst", ".pkg.tar.xz", ".pkg.tar.gz", ".pkg.tar.bz2" or ".pkg.tar"
}

var extensions = []string{".pkg.tar.zst", ".pkg.tar.xz", ".pkg.tar.gz", ".pkg.tar.bz2", ".pkg.tar"}

// ParseFileName takes a package file's name apart, from the right, since names
// hold hyphens and versions do not. It refuses everything that is not exactly
// such a name, so a parsed name is safe as the last element of a path or URL.
// The error is a *Fault.
func ParseFileName(s string) (FileName, error) {
	if len(s) > maxFileName {
		return FileName{}, faultf(KindFileName, "", "file name of %d bytes, the most is %d", len(s), maxFileName)
	}
	stem, ext, ok := cutExtension(s)
	if !ok {
		return FileName{}, faultf(KindFileName, "", "file name %s does not end in .pkg.tar with .zst, .xz, .gz, .bz2 or nothing", show(s))
	}
	parts := strings.Split(stem, "-")
	if len(parts) < 4 {
		return FileName{}, faultf(KindFileName, "", "file name %s is not NAME-VERSION-REL-ARCH", show(s))
	}
	n := len(parts)
	f := FileName{
		Name:    strings.Join(parts[:n-3], "-"),
		Version: Version(parts[n-3] + "-" + parts[n-2]),
		Arch:    parts[n-1],
		Ext:     ext,
	}
	return f, f.check()
}

func cutExtension(s string) (stem, ext string, ok bool) {
	for _, ext := range extensions {
		if stem, ok := strings.CutSuffix(s, ext); ok {
			return stem, ext, true
		}
	}
	return "", "", false
}

func (f FileName) check() error {
	if err := ValidName(f.Name); err != nil {
		return err
	}
	if err := f.Version.Check(); err != nil {
		return err
	}
	return validArch(f.Arch)
}

// String puts the name together again.
func (f FileName) String() string {
	return f.Name + "-" + string(f.Version) + "-" + f.Arch + f.Ext
}

// ValidName reports whether s can name a package or package base: ASCII
// letters, digits and @._+-, not beginning with a hyphen or a dot. The error is
// a *Fault.
func ValidName(s string) error {
	if !madeOf(s, nameChars) || s[0] == '-' || s[0] == '.' {
		return faultf(KindName, "", "name %s: want letters, digits and @._+-, beginning with none of .-", show(s))
	}
	return nil
}

const nameChars = alnums + "@._+-"

func validArch(s string) error {
	if !madeOf(s, alnums+"_") {
		return faultf(KindFileName, "", "architecture %s: want letters, digits and _", show(s))
	}
	return nil
}

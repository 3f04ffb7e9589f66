package alpm

import "strings"

// PkgInfo is what .PKGINFO says. Values are as written; [Package.Entry]
// collapses their white space.
type PkgInfo struct {
	Name       string
	Base       string // pkgbase, or Name where an old package has none
	Version    Version
	Type       string // of "xdata = pkgtype=": "pkg", "split", "debug", or "" before format 2
	Desc       string
	URL        string
	BuildDate  int64 // Unix seconds
	Packager   string
	Size       int64 // bytes of the installed files
	Arch       string
	Licenses   []string
	Replaces   []string
	Groups     []string
	Conflicts  []string
	Provides   []string
	Backup     []string // paths without a leading slash
	Depends    []string
	OptDepends []string // "NAME" or "NAME: why"

	MakeDepends  []string
	CheckDepends []string
}

// ParsePkgInfo reads the content of .PKGINFO, version 1 or 2, strictly: no
// unknown keys, no second value for a scalar, every value by its grammar and
// without invisible characters. The error is a *Fault.
func ParsePkgInfo(b []byte) (*PkgInfo, error) {
	p := new(PkgInfo)
	var xdata []string
	fields := append(p.fields(), field{key: "xdata", list: &xdata, check: checkXData})
	// The last three are what makepkg once wrote and nobody reads.
	if err := parseFields(b, ".PKGINFO", KindPkgInfo, fields, "basever", "force", "makepkgopt"); err != nil {
		return nil, err
	}
	if p.Base == "" {
		p.Base = p.Name
	}
	for _, x := range xdata {
		if t, ok := strings.CutPrefix(x, "pkgtype="); ok {
			if p.Type != "" {
				return nil, faultf(KindPkgInfo+KindDuplicateKey, ".PKGINFO", ".PKGINFO: pkgtype stands twice")
			}
			p.Type = t
		}
	}
	if len(xdata) > 0 && p.Type == "" {
		return nil, faultf(KindPkgInfo+KindMissingKey, ".PKGINFO", ".PKGINFO: xdata has no pkgtype")
	}
	return p, nil
}

func (p *PkgInfo) fields() []field {
	return []field{
		{key: "pkgname", text: &p.Name, check: ValidName, required: true},
		{key: "pkgbase", text: &p.Base, check: ValidName},
		{key: "pkgver", text: (*string)(&p.Version), check: checkVersion, required: true},
		{key: "pkgdesc", text: &p.Desc, joins: true},
		{key: "url", text: &p.URL},
		{key: "builddate", number: &p.BuildDate, required: true},
		{key: "packager", text: &p.Packager, required: true},
		{key: "size", number: &p.Size, required: true},
		{key: "arch", text: &p.Arch, check: validArch, required: true},
		{key: "license", list: &p.Licenses},
		{key: "replaces", list: &p.Replaces, check: checkDep},
		{key: "group", list: &p.Groups},
		{key: "conflict", list: &p.Conflicts, check: checkDep},
		{key: "provides", list: &p.Provides, check: checkProvide},
		{key: "backup", list: &p.Backup, check: checkBackup},
		{key: "depend", list: &p.Depends, check: checkDep},
		{key: "optdepend", list: &p.OptDepends, check: checkOptDep},
		{key: "makedepend", list: &p.MakeDepends, check: checkDep},
		{key: "checkdepend", list: &p.CheckDepends, check: checkDep},
	}
}

func checkBackup(s string) error { return checkPath(s, DefaultLimits().PathLen) }

// checkXData allows extended data of any key, but only types that are installed:
// a source package is none.
func checkXData(s string) error {
	switch key, value, ok := strings.Cut(s, "="); {
	case !ok:
		return faultf(KindPkgInfo+KindValue, "", "%s is not key=value", show(s))
	case key == "pkgtype" && value != "pkg" && value != "split" && value != "debug":
		return faultf(KindPkgInfo+KindValue, "", "pkgtype %s: want pkg, split or debug", show(value))
	}
	return nil
}

// IsDebug reports whether this is a package of detached debugging symbols. Where
// format 1 has no type, the name and the description that makepkg gives tell.
func (p *PkgInfo) IsDebug() bool {
	if p.Type != "" {
		return p.Type == "debug"
	}
	return p.Name == p.Base+"-debug" && strings.HasPrefix(p.Desc, "Detached debugging symbols for ")
}

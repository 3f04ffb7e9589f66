package alpm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	maxSrcInfo      = 1 << 20 // bytes; the largest in the AUR has a third of it
	maxSrcInfoLines = 10_000
	maxSrcPackages  = 1000 // each holds what Shared does
	maxSrcArches    = 32
	srcInfoName     = ".SRCINFO"
)

// ParseSrcInfo reads the content of .SRCINFO strictly: known keys in the sections
// they belong to, every value by its grammar, sources only of schemes that
// makepkg fetches. At most 1 MiB and 10,000 lines are read. The error is a *Fault.
func ParseSrcInfo(b []byte) (*SrcInfo, error) {
	if len(b) > maxSrcInfo {
		return nil, faultf(KindSrcInfo, srcInfoName, "%s has %d bytes, the most is %d", srcInfoName, len(b), maxSrcInfo)
	}
	p := srcParser{info: new(SrcInfo)}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		if number > maxSrcInfoLines {
			return nil, faultf(KindSrcInfo, srcInfoName, "%s has more than %d lines", srcInfoName, maxSrcInfoLines)
		}
		if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, faultf(KindSrcInfo+err.kind, srcInfoName, "%s line %d: %s", srcInfoName, number, err.detail)
		}
	}
	if err := p.info.finish(); err != nil {
		return nil, faultf(KindSrcInfo+err.kind, srcInfoName, "%s: %s", srcInfoName, err.detail)
	}
	return p.info, nil
}

// srcParser holds where in the file the parser is.
type srcParser struct {
	info   *SrcInfo
	fields []srcField      // what the current section may have; none before pkgbase
	seen   map[string]bool // keys of the current section, with their suffix
}

func (p *srcParser) line(line string) *lineError {
	line = strings.TrimLeft(line, "\t ")
	if line == "" || line[0] == '#' {
		return nil
	}
	key, value, ok := strings.Cut(line, " =")
	// Trailing white space is what editors strip from "depends = ".
	if !ok || value != "" && value[0] != ' ' {
		return &lineError{KindSyntax, "is not \"key = value\": " + show(line)}
	}
	value = strings.Trim(value, " ")
	if len(value) > maxLine {
		return &lineError{KindSyntax, tooLong}
	}
	if err := checkText(value); err != nil {
		return &lineError{KindValue, show(key) + ": " + err.Error()}
	}
	switch key {
	case "pkgbase":
		return p.base(value)
	case "pkgname":
		return p.pkg(value)
	}
	return p.field(key, value)
}

func (p *srcParser) base(name string) *lineError {
	if p.info.Base != "" {
		return &lineError{KindDuplicateKey, "pkgbase stands twice"}
	}
	if err := ValidName(name); err != nil {
		return &lineError{KindValue, "pkgbase: " + err.Error()}
	}
	p.info.Base = name
	p.fields, p.seen = append(p.info.fields(), p.info.Shared.fields()...), make(map[string]bool)
	return nil
}

func (p *srcParser) pkg(name string) *lineError {
	if p.info.Base == "" {
		return &lineError{KindSyntax, "pkgname stands before pkgbase"}
	}
	if err := ValidName(name); err != nil {
		return &lineError{KindValue, "pkgname: " + err.Error()}
	}
	if len(p.info.Packages) == maxSrcPackages {
		return &lineError{"", fmt.Sprintf("more than %d packages", maxSrcPackages)}
	}
	if p.info.Package(name) != nil {
		return &lineError{KindDuplicateKey, "pkgname " + name + " stands twice"}
	}
	p.info.Packages = append(p.info.Packages, p.info.Shared.clone(name))
	last := &p.info.Packages[len(p.info.Packages)-1]
	// makepkg prints the checkdepends that a package function sets, and ignores them.
	ignored := srcField{key: "checkdepends", arches: new(ArchList), check: checkDep}
	p.fields, p.seen = append(last.fields(), ignored), make(map[string]bool)
	return nil
}

// clone keeps what one package overrides or adds from changing the others.
func (p *SrcPackage) clone(name string) SrcPackage {
	c := *p
	c.Name = name
	for _, l := range []*ArchList{&c.Depends, &c.OptDepends, &c.Provides, &c.Conflicts, &c.Replaces} {
		*l = maps.Clone(*l)
		for arch, values := range *l {
			(*l)[arch] = slices.Clip(values)
		}
	}
	return c
}

// field stores one value. In a package's section the first of a key takes the
// place of all that the base has under it, for whatever architecture, and an
// empty one leaves nothing there; a key with a suffix adds to what there is. For
// makepkg merges what the base has for its architecture before it runs the
// package functions, and what they set for it after.
func (p *srcParser) field(key, value string) *lineError {
	name, arch, suffixed := strings.Cut(key, "_")
	i := slices.IndexFunc(p.fields, func(f srcField) bool { return f.key == name })
	if i < 0 || suffixed && (p.fields[i].arches == nil || arch == "any" || validArch(arch) != nil) {
		return &lineError{KindUnknownKey, "unknown key here: " + show(key)}
	}
	f := &p.fields[i]
	if suffixed && len(*f.arches) > maxSrcArches {
		return &lineError{"", fmt.Sprintf("more than %d architectures", maxSrcArches)}
	}
	first := !p.seen[key]
	if !first && f.text != nil {
		return &lineError{KindDuplicateKey, key + " stands twice"}
	}
	if value != "" && f.check != nil {
		if err := f.check(value); err != nil {
			return &lineError{KindValue, key + ": " + err.Error()}
		}
	}
	if first && f.arches != nil && arch == "" && p.seenSuffixed(name) {
		return &lineError{KindSyntax, key + " stands after what only one architecture has"}
	}
	f.store(arch, value, first)
	p.seen[key] = true
	return nil
}

func (p *srcParser) seenSuffixed(name string) bool {
	for key := range p.seen {
		if strings.HasPrefix(key, name+"_") {
			return true
		}
	}
	return false
}

// A srcField is where the values of a key go: one of text, list and arches is set.
type srcField struct {
	key    string
	text   *string
	list   *[]string
	arches *ArchList
	check  func(string) error // of every value that is not empty; nil allows any
}

func (f *srcField) store(arch, value string, first bool) {
	switch {
	case f.text != nil:
		*f.text = value
	case f.list != nil:
		if first {
			*f.list = nil
		}
		*f.list = extend(*f.list, value)
	default:
		if *f.arches == nil {
			*f.arches = make(ArchList)
		}
		if first && arch == "" {
			clear(*f.arches)
		}
		(*f.arches)[arch] = extend((*f.arches)[arch], value)
	}
}

func extend(list []string, value string) []string {
	if value == "" {
		return list
	}
	return append(list, value)
}

// fields are the keys that stand under pkgbase and under pkgname.
func (p *SrcPackage) fields() []srcField {
	return []srcField{
		{key: "pkgdesc", text: &p.Desc},
		{key: "url", text: &p.URL, check: checkHomepage},
		{key: "install", text: &p.Install, check: checkBeside},
		{key: "changelog", text: &p.ChangeLog, check: checkBeside},
		{key: "arch", list: &p.Arches, check: validArch},
		{key: "groups", list: &p.Groups},
		{key: "license", list: &p.Licenses},
		{key: "options", list: &p.Options, check: checkOption},
		{key: "backup", list: &p.Backup, check: checkBackup},
		{key: "depends", arches: &p.Depends, check: checkDep},
		{key: "optdepends", arches: &p.OptDepends, check: checkOptDep},
		{key: "provides", arches: &p.Provides, check: checkProvide},
		{key: "conflicts", arches: &p.Conflicts, check: checkDep},
		{key: "replaces", arches: &p.Replaces, check: checkDep},
	}
}

// fields are the keys that stand under pkgbase only.
func (s *SrcInfo) fields() []srcField {
	fields := []srcField{
		{key: "pkgver", text: &s.PkgVer, check: checkPkgVer},
		{key: "pkgrel", text: &s.PkgRel},
		{key: "epoch", text: &s.Epoch, check: checkEpoch},
		{key: "makedepends", arches: &s.MakeDepends, check: checkDep},
		{key: "checkdepends", arches: &s.CheckDepends, check: checkDep},
		{key: "source", arches: &s.Sources, check: checkSource},
		{key: "noextract", list: &s.NoExtract},
		{key: "validpgpkeys", list: &s.ValidPGPKeys, check: checkPGPKey},
	}
	s.Sums = make(map[string]ArchList)
	for algorithm := range sumDigits {
		list := make(ArchList)
		s.Sums[algorithm] = list
		check := func(v string) error { return checkSum(algorithm, v) }
		fields = append(fields, srcField{key: algorithm + "sums", arches: &list, check: check})
	}
	return fields
}

// finish asks for what must stand somewhere, and whether what stands in several
// places agrees.
func (s *SrcInfo) finish() *lineError {
	maps.DeleteFunc(s.Sums, func(_ string, l ArchList) bool { return len(l) == 0 })
	switch {
	case s.Base == "":
		return &lineError{KindMissingKey, "has no pkgbase"}
	case len(s.Packages) == 0:
		return &lineError{KindMissingKey, "has no pkgname"}
	case s.PkgVer == "":
		return &lineError{KindMissingKey, "has no pkgver"}
	case s.PkgRel == "":
		return &lineError{KindMissingKey, "has no pkgrel"}
	case len(s.Shared.Arches) == 0:
		return &lineError{KindMissingKey, "has no arch"}
	}
	if err := s.FullVersion().Check(); err != nil {
		return &lineError{KindValue, err.Error()}
	}
	return s.checkSuffixes()
}

// checkSuffixes refuses values for an architecture that nothing is built for:
// makepkg never prints them, so they are there for another reader.
func (s *SrcInfo) checkSuffixes() *lineError {
	known := map[string]bool{"": true}
	lists := []ArchList{s.MakeDepends, s.CheckDepends, s.Sources}
	for _, sums := range s.Sums {
		lists = append(lists, sums)
	}
	for _, p := range append([]SrcPackage{s.Shared}, s.Packages...) {
		for _, arch := range p.Arches {
			known[arch] = true
		}
		if len(p.Arches) == 0 {
			return &lineError{KindMissingKey, "package " + p.Name + " has no arch"}
		}
		lists = append(lists, p.Depends, p.OptDepends, p.Provides, p.Conflicts, p.Replaces)
	}
	for _, list := range lists {
		for arch := range list {
			if !known[arch] {
				return &lineError{KindValue, "has values for " + arch + ", which is not in arch"}
			}
		}
	}
	return nil
}

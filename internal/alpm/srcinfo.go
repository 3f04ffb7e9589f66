package alpm

import (
	"slices"
	"strings"
)

// KindSrcInfo is the kind of fault of a .SRCINFO. A fault of one line has
// KindSyntax, KindUnknownKey, KindDuplicateKey, KindMissingKey or KindValue
// appended.
const KindSrcInfo = "srcinfo"

// SrcInfo is what .SRCINFO says: what makepkg knows of a PKGBUILD without
// building it. Format: SRCINFO(5), as makepkg --printsrcinfo writes it.
type SrcInfo struct {
	Base   string
	Epoch  string // decimal, or ""
	PkgVer string
	PkgRel string

	MakeDepends  ArchList
	CheckDepends ArchList
	Sources      ArchList            // "URL", "NAME::URL" or a path beside the PKGBUILD
	Sums         map[string]ArchList // by algorithm ("sha256"), parallel to Sources: hex or "SKIP"
	NoExtract    []string
	ValidPGPKeys []string // hex, 16 digits at least

	Shared   SrcPackage   // what stands under pkgbase; Name is empty
	Packages []SrcPackage // with what Shared has and they do not override
}

// SrcPackage is one of the packages that a base builds.
type SrcPackage struct {
	Name      string
	Desc      string
	URL       string
	Install   string // path beside the PKGBUILD
	ChangeLog string // likewise
	Arches    []string
	Groups    []string
	Licenses  []string
	Options   []string
	Backup    []string // paths without a leading slash

	Depends    ArchList
	OptDepends ArchList // "NAME" or "NAME: why"
	Provides   ArchList
	Conflicts  ArchList
	Replaces   ArchList
}

// ArchList holds values by architecture: under "" what holds for every one, under
// "x86_64" what comes to it there.
type ArchList map[string][]string

// For returns what holds when makepkg builds on arch, for the packages that are
// for "any" too.
func (l ArchList) For(arch string) []string {
	if arch == "" {
		return l[""]
	}
	return slices.Concat(l[""], l[arch])
}

// FullVersion is the version that the packages will have, unless a pkgver
// function says otherwise.
func (s *SrcInfo) FullVersion() Version {
	v := s.PkgVer + "-" + s.PkgRel
	if strings.Trim(s.Epoch, "0") != "" {
		v = s.Epoch + ":" + v
	}
	return Version(v)
}

// Package returns the package of that name, or nil.
func (s *SrcInfo) Package(name string) *SrcPackage {
	for i := range s.Packages {
		if s.Packages[i].Name == name {
			return &s.Packages[i]
		}
	}
	return nil
}

// BuildsFor reports whether makepkg builds this base on arch.
func (s *SrcInfo) BuildsFor(arch string) bool { return s.Shared.ArchFor(arch) != "" }

// ArchFor is the architecture of the package file built on arch: arch, "any", or
// "" when there is none.
func (p *SrcPackage) ArchFor(arch string) string {
	switch {
	case slices.Contains(p.Arches, arch):
		return arch
	case slices.Contains(p.Arches, "any"):
		return "any"
	default:
		return ""
	}
}

// BuildDepends is what must be installed before makepkg builds the base on arch:
// its dependencies, those of the build and those of the check. What only one
// package of several depends on is not among them.
func (s *SrcInfo) BuildDepends(arch string) []string {
	return slices.Concat(s.Shared.Depends.For(arch), s.MakeDepends.For(arch), s.CheckDepends.For(arch))
}

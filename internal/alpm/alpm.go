// Package alpm reads and writes the formats of Arch Linux packages: file names,
// versions, the metadata inside a package, and the entries of a pacman sync
// database.
//
// It owns the question "is this byte stream a well-formed package that agrees
// with itself?" and answers it in one streaming pass with hard limits
// ([ReadPackage]). It knows nothing of repositories, signatures, files or the
// network: everything goes through io.Reader and byte slices. Input is always
// taken to be hostile; output is always canonical, so that the same facts give
// the same bytes.
//
// Formats: alpm-package-file-name(7), PKGINFO(5), BUILDINFO(5), alpm-mtree(5),
// alpm-repo-db(7), and pacman 6.0 to 7.1 where those are silent.
package alpm

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits bounds what reading one package may cost. The zero value of a number
// allows nothing; start from [DefaultLimits].
type Limits struct {
	Size     int64 // bytes of the package file
	Unpacked int64 // bytes of the archive inside it, padding included
	Ratio    int64 // Unpacked/Size; asked only beyond the first 64 MiB unpacked
	Members  int   // members, directories that are only implied included
	PathLen  int   // bytes of one path or link target
	Names    int64 // bytes of all paths and link targets together
	PkgInfo  int64 // bytes of .PKGINFO, which ends up in every client's database
	Meta     int64 // bytes of every other metadata member, as stored
	MTree    int64 // bytes of .MTREE, decompressed

	RequireMTree     bool // a package without .MTREE is refused
	RequireBuildInfo bool // a package without .BUILDINFO is refused

	Now time.Time // what builddate is compared with; zero means time.Now
}

// DefaultLimits holds any package that makepkg produces from real software.
func DefaultLimits() Limits {
	return Limits{
		Size:     4 << 30,
		Unpacked: 64 << 30,
		Ratio:    200,
		Members:  1_000_000,
		PathLen:  4096,
		Names:    64 << 20,
		PkgInfo:  1 << 20,
		Meta:     16 << 20,
		MTree:    256 << 20,

		RequireMTree:     true,
		RequireBuildInfo: true,
	}
}

const (
	maxLine      = 64 << 10 // bytes of one line of metadata
	maxComponent = 255      // bytes of one path component: NAME_MAX
	maxFileName  = 246      // NAME_MAX less ".sig.part", which pacman appends
	maxWindow    = 128 << 20
	ratioFloor   = 64 << 20
)

// A Fault says what is wrong with the content of a package or database. It is
// the sender's mistake, never an input or output error.
type Fault struct {
	Kind   string // one of the Kind constants
	Member string // path of the archive member at fault, or ""
	Detail string // one line for people, safe to print; names the member
}

func (f *Fault) Error() string { return f.Detail }

// Kinds of faults. The words are stable: scripts and tests may rely on them.
const (
	KindFileName         = "file-name"          // not a package file name
	KindFileNameMismatch = "file-name-mismatch" // not the name .PKGINFO stands for
	KindVersion          = "version"            // not [EPOCH:]PKGVER-PKGREL
	KindName             = "name"               // not a package name

	KindTooLarge            = "too-large"            // the file exceeds Limits.Size
	KindCompressionMismatch = "compression-mismatch" // the extension names another compression
	KindCompressionCorrupt  = "compression-corrupt"  // does not decompress, or fails its checksum
	KindCompressionWindow   = "compression-window"   // needs more memory than pacman grants
	KindCompressionEnd      = "compression-end"      // ends early, or does not end where it should
	KindUnpackedSize        = "unpacked-size"        // exceeds Limits.Unpacked
	KindRatio               = "ratio"                // exceeds Limits.Ratio

	KindTarCorrupt  = "tar-corrupt"    // not a tar archive
	KindTarEnd      = "tar-end"        // no end-of-archive
	KindTarTrailing = "tar-trailing"   // something after the end-of-archive
	KindPaxKey      = "pax-key"        // a pax record with no business in a package
	KindMemberType  = "member-type"    // device, fifo, sparse file, …
	KindMemberSize  = "member-size"    // a directory or link that claims content
	KindMemberOwner = "member-owner"   // an owner outside 0 to 2^31-1
	KindMembers     = "member-count"   // exceeds Limits.Members
	KindNames       = "names-size"     // exceeds Limits.Names
	KindMetaSize    = "metadata-size"  // a metadata member exceeds its limit
	KindMetaType    = "metadata-type"  // a metadata member that is no regular file
	KindMetaOrder   = "metadata-order" // metadata after data
	KindDotFile     = "dot-file"       // a root member with a dot that pacman does not know

	KindPathEscape    = "path-escape"    // absolute, or with ".."
	KindPathSyntax    = "path-syntax"    // empty, leading "./", "//", a trailing slash
	KindPathControl   = "path-control"   // control characters
	KindPathUTF8      = "path-utf8"      // not UTF-8
	KindPathLength    = "path-length"    // exceeds Limits.PathLen, or a component NAME_MAX
	KindDuplicate     = "duplicate"      // the same path twice
	KindParent        = "parent"         // below a file
	KindParentSymlink = "parent-symlink" // below a symbolic link
	KindHardLink      = "hard-link"      // to anything but an earlier regular file
	KindSymlink       = "symlink"        // a target no file system takes

	KindPkgInfoMissing    = "pkginfo-missing"
	KindPkgInfo           = "pkginfo" // see below
	KindBuildInfoMissing  = "buildinfo-missing"
	KindBuildInfo         = "buildinfo"
	KindBuildInfoMismatch = "buildinfo-mismatch" // .BUILDINFO and .PKGINFO disagree
	KindBuildDate         = "builddate"          // more than a day ahead
	KindDesc              = "desc"
	KindFiles             = "files"
	KindDatabase          = "database" // a member that does not belong there

	// A fault in lines of KindPkgInfo, KindBuildInfo or KindDesc has one of these appended.
	KindSyntax       = "-syntax"        // neither comment nor "key = value"
	KindUnknownKey   = "-unknown-key"   // a key nobody defined
	KindDuplicateKey = "-duplicate-key" // a key that may stand once, twice
	KindMissingKey   = "-missing-key"   // a required key
	KindValue        = "-value"         // a value that breaks its grammar

	KindMTreeMissing  = "mtree-missing"
	KindMTreeSyntax   = "mtree-syntax"
	KindMTreeSize     = "mtree-size"      // exceeds Limits.MTree decompressed
	KindMTreeUnlisted = "mtree-unlisted"  // in the archive only
	KindMTreeAbsent   = "mtree-absent"    // in .MTREE only
	KindMTreeType     = "mtree-type"      // from here on: both know the
	KindMTreeMode     = "mtree-mode"      // member but disagree on this
	KindMTreeOwner    = "mtree-owner"     // property
	KindMTreeFileSize = "mtree-file-size" //
	KindMTreeDigest   = "mtree-digest"    //
	KindMTreeLink     = "mtree-link"      //
)

func faultf(kind, member, format string, args ...any) error {
	return &Fault{Kind: kind, Member: member, Detail: fmt.Sprintf(format, args...)}
}

// show makes foreign text fit for a one-line message: as it is when plainly
// printable, quoted otherwise, and never long.
func show(s string) string {
	const most, mostQuoted = 256, 64
	if short := shorten(s, most); isPlain(short) {
		return short
	}
	return strconv.Quote(shorten(s, mostQuoted))
}

func isPlain(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// shorten cuts before a character that would exceed most bytes.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

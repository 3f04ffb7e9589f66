package alpm

import (
	"archive/tar"
	"encoding"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// maxWarnings is how many of a package's oddities are worth a line each.
const maxWarnings = 50

// ReadPackage reads the package file called name from r, in one pass to its very
// end, and holds it to the whole of what a package must be: one compressed tar,
// ended properly and followed by nothing; members of harmless types and paths;
// strict metadata that agrees with the file name and with each other; and a
// .MTREE that matches every member in type, mode, owner, size, digest and target.
//
// Memory is bounded by lim, and does not grow with the size of the file. What is
// wrong with the content is a *Fault; an error of r comes back wrapped and is
// none. In both cases r may not have been read to its end.
func ReadPackage(r io.Reader, name string, lim Limits) (*Package, error) {
	file, err := ParseFileName(name)
	if err != nil {
		return nil, err
	}
	src := newSource(r, lim.Size)
	defer src.close()
	p, err := readPackage(src, file, lim)
	sum := src.finish()
	// A source that failed explains every other error, and may look like a clean
	// end to a decompressor.
	if cause := src.failure(); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	p.Size, p.SHA256 = src.n, hex.EncodeToString(sum.Sum(nil))
	p.Digest, err = sum.(encoding.BinaryMarshaler).MarshalBinary()
	return p, err
}

func readPackage(src *source, file FileName, lim Limits) (*Package, error) {
	kind := sniff(src.Peek(magicLen))
	if want := compression(strings.TrimPrefix(file.Ext, ".pkg.tar")); kind != want {
		return nil, faultf(KindCompressionMismatch, "", "file name ends in %s, but the content is %s", file.Ext, kind.describe())
	}
	a := &archive{packed: func() int64 { return src.n }, most: lim.Unpacked, ratio: lim.Ratio}
	if err := a.open(src, kind); err != nil {
		return nil, err
	}
	defer a.close()
	p := &packageReader{archive: a, lim: lim, tree: newTree(lim), members: newHasher()}
	defer p.members.close()
	p.pkg.File = file
	if err := p.read(); err != nil {
		return nil, err
	}
	pkg := p.pkg // a pointer into p would keep its tree
	return &pkg, nil
}

// packageReader is the pass over one package.
type packageReader struct {
	*archive
	lim     Limits
	tree    *tree
	pkg     Package
	members *hasher

	meta     map[string]bool // metadata members seen
	inData   bool            // past the metadata
	dataSize int64
	warned   int
}

func (p *packageReader) read() error {
	p.meta = make(map[string]bool)
	for {
		h, err := p.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := p.member(h); err != nil {
			return err
		}
	}
	if err := p.endMetadata(); err != nil {
		return err
	}
	if err := p.tree.finish(); err != nil {
		return err
	}
	p.finishWarnings()
	p.pkg.Files = p.tree.files()
	return p.end()
}

func (p *packageReader) member(h *tar.Header) error {
	e, err := memberFacts(h, &p.lim)
	if err != nil {
		return err
	}
	if isMetadata(e.Path) {
		return p.metadata(h, e)
	}
	if err := p.endMetadata(); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		// Before the link itself is entered: it is no earlier member.
		if e, err = p.hardLink(e, h.Linkname); err != nil {
			return err
		}
	}
	if err := p.tree.enter(e.Path, e.Type); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		p.dataSize += h.Size
		if e.SHA256, err = p.digest(nil); err != nil {
			return err
		}
	}
	p.warnMember(h, &e)
	return p.tree.settle(e)
}

// digest hashes the current member, and copies it to w too unless that is nil.
func (p *packageReader) digest(w io.Writer) (sum [32]byte, err error) {
	from := io.Reader(p)
	if w != nil {
		from = io.TeeReader(p, w)
	}
	if sum, err = p.members.sum(from); err != nil {
		return sum, p.broken(err)
	}
	return sum, nil
}

// hardLink gives the link what it shares with its target, as .MTREE lists it.
func (p *packageReader) hardLink(e MTreeEntry, target string) (MTreeEntry, error) {
	facts, ok := p.tree.target(target)
	if !ok {
		return e, faultf(KindHardLink, e.Path, "%s is a hard link to %s, which is no earlier regular file", show(e.Path), show(target))
	}
	e.Size, e.SHA256 = facts.Size, facts.SHA256
	return e, nil
}

// endMetadata is called before the first data member, and again at the end: all
// metadata must have come and agree by then.
func (p *packageReader) endMetadata() error {
	if p.inData {
		return nil
	}
	p.inData = true
	switch {
	case !p.meta[".PKGINFO"]:
		return faultf(KindPkgInfoMissing, ".PKGINFO", ".PKGINFO is missing, or comes after data")
	case !p.meta[".MTREE"] && p.lim.RequireMTree:
		return faultf(KindMTreeMissing, ".MTREE", ".MTREE is missing, or comes after data")
	case !p.meta[".BUILDINFO"] && p.lim.RequireBuildInfo:
		return faultf(KindBuildInfoMissing, ".BUILDINFO", ".BUILDINFO is missing, or comes after data")
	}
	if err := p.checkBuildDate(); err != nil {
		return err
	}
	if p.pkg.Build == nil {
		return nil
	}
	return p.pkg.Build.agree(&p.pkg.Info)
}

// checkBuildDate allows for clocks a day apart. A date in the future would keep
// the package newer than all its successors for tools that sort by it.
func (p *packageReader) checkBuildDate() error {
	now := p.lim.Now
	if now.IsZero() {
		now = time.Now()
	}
	if p.pkg.Info.BuildDate > now.Add(24*time.Hour).Unix() {
		return faultf(KindBuildDate, ".PKGINFO", ".PKGINFO: builddate %d is more than a day ahead", p.pkg.Info.BuildDate)
	}
	return nil
}

// checkName holds the file name to the one .PKGINFO stands for.
func (p *packageReader) checkName() error {
	i := &p.pkg.Info
	want := FileName{Name: i.Name, Version: i.Version, Arch: i.Arch, Ext: p.pkg.File.Ext}
	if want != p.pkg.File {
		return faultf(KindFileNameMismatch, ".PKGINFO", ".PKGINFO is of %s, not of this file name", show(want.String()))
	}
	return nil
}

// warnMember notes what is unusual, or gives rights, without being wrong.
func (p *packageReader) warnMember(h *tar.Header, e *MTreeEntry) {
	if e.UID != 0 || e.GID != 0 {
		p.warnf("%s is owned by %d:%d", show(e.Path), e.UID, e.GID)
	}
	if e.Type == MTreeLink {
		return
	}
	if e.Mode&0o7000 != 0 {
		p.warnf("%s has mode %04o (set-user-ID, set-group-ID or sticky)", show(e.Path), e.Mode)
	}
	if e.Mode&0o2 != 0 {
		p.warnf("%s is writable by everyone (mode %04o)", show(e.Path), e.Mode)
	}
	if _, ok := h.PAXRecords[paxCapability]; ok {
		p.warnf("%s has file capabilities", show(e.Path))
	}
}

func (p *packageReader) finishWarnings() {
	if i := p.pkg.Info; i.Size != p.dataSize {
		p.warnf(".PKGINFO: size is %d, the files have %d bytes", i.Size, p.dataSize)
	}
	for _, path := range p.pkg.Info.Backup {
		if n := p.tree.nodes[path]; n == nil || n.found != MTreeFile {
			p.warnf(".PKGINFO: backup %s is no file of the package", show(path))
		}
	}
	for _, path := range p.tree.foldClashes() {
		p.warnf("%s differs from another path only in case", show(path))
	}
	if more := p.warned - maxWarnings; more > 0 {
		p.pkg.Warnings = append(p.pkg.Warnings, fmt.Sprintf("and %d more", more))
	}
}

func (p *packageReader) warnf(format string, args ...any) {
	if p.warned++; p.warned <= maxWarnings {
		p.pkg.Warnings = append(p.pkg.Warnings, fmt.Sprintf(format, args...))
	}
}

package alpm

import (
	"archive/tar"
	"bytes"
	"io"
)

// metadata takes a root member whose name begins with a dot. pacman ignores the
// ones it does not know, so a package with others says something nobody checks.
func (p *packageReader) metadata(h *tar.Header, e MTreeEntry) error {
	switch e.Path {
	case ".PKGINFO", ".BUILDINFO", ".MTREE", ".INSTALL", ".CHANGELOG":
	default:
		return faultf(KindDotFile, e.Path, "%s: pacman knows no such metadata", show(e.Path))
	}
	most := p.lim.Meta
	if e.Path == ".PKGINFO" {
		most = p.lim.PkgInfo
	}
	switch {
	case h.Typeflag != tar.TypeReg:
		return faultf(KindMetaType, e.Path, "%s is no regular file", e.Path)
	case p.inData:
		return faultf(KindMetaOrder, e.Path, "%s comes after data", e.Path)
	case e.Size > most:
		return faultf(KindMetaSize, e.Path, "%s has %d bytes, the most is %d", e.Path, e.Size, most)
	}
	if err := p.tree.enter(e.Path, e.Type); err != nil {
		return err
	}
	p.meta[e.Path] = true
	if e.Path == ".MTREE" {
		return p.readMTree()
	}
	return p.readMetadata(e)
}

// readMTree fills the tree, and then has it look at what came before.
func (p *packageReader) readMTree() error {
	p.tree.listed = true
	for e, err := range ReadMTree(p, p.lim.MTree) {
		if err != nil {
			return p.mtreeError(err)
		}
		if err := p.tree.list(e); err != nil {
			return err
		}
	}
	return p.tree.settleEarly()
}

// mtreeError prefers the reason below: to the reader of .MTREE, an archive that
// breaks off looks like a broken .MTREE.
func (p *packageReader) mtreeError(err error) error {
	if p.unpacked.ended() {
		return p.broken(io.ErrUnexpectedEOF)
	}
	if isFault(err) && p.unpacked.failure() == nil {
		return err
	}
	return p.broken(err)
}

// readMetadata parses what has a parser; the others are data to pacman, too, but
// their digests are listed.
func (p *packageReader) readMetadata(e MTreeEntry) (err error) {
	var text bytes.Buffer
	if e.SHA256, err = p.digest(&text); err != nil {
		return err
	}
	switch e.Path {
	case ".PKGINFO":
		info, err := ParsePkgInfo(text.Bytes())
		if err != nil {
			return err
		}
		p.pkg.Info = *info
		if err := p.checkName(); err != nil {
			return err
		}
	case ".BUILDINFO":
		if p.pkg.Build, err = ParseBuildInfo(text.Bytes()); err != nil {
			return err
		}
	}
	return p.tree.settle(e)
}

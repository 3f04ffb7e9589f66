package alpm

import (
	"archive/tar"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// paxKeys are the extended header records that makepkg's bsdtar may write and
// that change nothing but what this package looks at.
var paxKeys = map[string]bool{
	"path": true, "linkpath": true, "size": true, "uid": true, "gid": true, "uname": true, "gname": true,
	"mtime": true, "atime": true, "ctime": true, "hdrcharset": true, "LIBARCHIVE.creationtime": true,
	"SCHILY.dev": true, "SCHILY.ino": true, "SCHILY.nlink": true,
	paxCapability: true, "LIBARCHIVE.xattr.security.capability": true,
}

const paxCapability = "SCHILY.xattr.security.capability"

// memberFacts turns a tar header into facts, refusing every kind of member that
// a package has no use for. Size of a regular member is set, its digest is not.
func memberFacts(h *tar.Header, lim *Limits) (MTreeEntry, error) {
	// The clone lets go of the whole pax record that the name may be part of.
	e := MTreeEntry{Path: strings.Clone(h.Name), Mode: uint32(h.Mode & 0o7777), Time: h.ModTime.Unix()}
	if h.Typeflag == tar.TypeDir {
		e.Path = strings.TrimSuffix(e.Path, "/")
	}
	if err := checkMemberType(h); err != nil {
		return e, err
	}
	if err := checkPath(e.Path, lim.PathLen); err != nil {
		return e, err
	}
	if err := checkPax(h); err != nil {
		return e, err
	}
	if !isOwner(h.Uid) || !isOwner(h.Gid) {
		return e, faultf(KindMemberOwner, e.Path, "%s: owner %d:%d is out of range", show(e.Path), h.Uid, h.Gid)
	}
	e.UID, e.GID = uint32(h.Uid), uint32(h.Gid)
	if h.Typeflag != tar.TypeReg && h.Size != 0 {
		return e, faultf(KindMemberSize, e.Path, "%s: only a regular file may have content", show(e.Path))
	}
	e.Type = MTreeFile
	switch h.Typeflag {
	case tar.TypeReg:
		e.Size = h.Size
	case tar.TypeDir:
		e.Type = MTreeDir
	case tar.TypeSymlink:
		e.Type = MTreeLink
		e.Link = strings.Clone(h.Linkname)
		return e, checkTarget(e.Path, e.Link, lim.PathLen)
	}
	return e, nil
}

func isOwner(id int) bool { return id >= 0 && id <= math.MaxInt32 }

func checkMemberType(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
		return nil
	}
	name := map[byte]string{
		tar.TypeChar: "a character device", tar.TypeBlock: "a block device", tar.TypeFifo: "a fifo",
		tar.TypeGNUSparse: "a sparse file", tar.TypeXGlobalHeader: "a global pax header",
	}[h.Typeflag]
	if name == "" {
		name = "an unknown type of member"
	}
	return faultf(KindMemberType, h.Name, "%s is %s: want file, directory or link", show(h.Name), name)
}

// checkPax refuses records outside paxKeys. An empty value deletes a record for
// some readers and sets it for others.
func checkPax(h *tar.Header) error {
	for key, value := range h.PAXRecords {
		if !paxKeys[key] || value == "" {
			return faultf(KindPaxKey, h.Name, "%s has the pax record %s, which packages do not", show(h.Name), show(key))
		}
	}
	return nil
}

// checkTarget takes any symbolic link that a file system could hold: where it
// points is not the archive's concern, since nothing may lie below it.
func checkTarget(path, target string, most int) error {
	if target == "" || len(target) > most || !utf8.ValidString(target) || strings.ContainsFunc(target, unicode.IsControl) {
		return faultf(KindSymlink, path, "%s: bad symbolic link target %s", show(path), show(target))
	}
	return nil
}

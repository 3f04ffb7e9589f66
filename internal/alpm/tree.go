package alpm

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// tree is all paths of one package: what .MTREE lists and what the archive
// holds, which in the end must be the same.
type tree struct {
	lim   Limits
	nodes map[string]*node
	count int   // nodes that the archive has brought, implied ones included
	names int64 // bytes of all paths and link targets

	listed bool         // .MTREE has been read
	early  []MTreeEntry // members that came before .MTREE
}

// node is one path. facts is what .MTREE promises, and without .MTREE what the
// archive holds.
type node struct {
	facts   MTreeEntry
	listed  bool // in .MTREE
	found   byte // type of the member in the archive, 0 when none came yet
	implied bool // a directory so far known only by what lies below it
}

func newTree(lim Limits) *tree {
	return &tree{lim: lim, nodes: make(map[string]*node)}
}

// at returns the node of a path, new or not.
func (t *tree) at(path string) *node {
	n := t.nodes[path]
	if n == nil {
		n = new(node)
		t.nodes[path] = n
	}
	return n
}

// list takes an entry of .MTREE.
func (t *tree) list(e MTreeEntry) error {
	n := t.at(e.Path)
	if e.Path == ".MTREE" {
		return faultf(KindMTreeSyntax, ".MTREE", ".MTREE lists itself")
	}
	if n.listed {
		return faultf(KindMTreeSyntax, ".MTREE", ".MTREE lists %s twice", show(e.Path))
	}
	if len(t.nodes) > t.lim.Members {
		return faultf(KindMembers, ".MTREE", ".MTREE lists more than %d members", t.lim.Members)
	}
	n.listed, n.facts = true, e
	return t.addNames(e)
}

func (t *tree) addNames(e MTreeEntry) error {
	t.names += int64(len(e.Path) + len(e.Link))
	if t.names > t.lim.Names {
		return faultf(KindNames, e.Path, "paths and link targets exceed %d bytes together", t.lim.Names)
	}
	return nil
}

// enter notes that the archive has a member of this path and type, before its
// content is known: it must be new and lie in directories only.
func (t *tree) enter(path string, kind byte) error {
	n := t.at(path)
	if n.found != 0 {
		return faultf(KindDuplicate, path, "%s is in the archive twice", show(path))
	}
	if n.implied && kind != MTreeDir {
		return faultf(KindParent, path, "%s is no directory, but has members below it", show(path))
	}
	n.found = kind
	if !n.implied {
		t.count++
	}
	if err := t.enterParents(path); err != nil {
		return err
	}
	if t.count > t.lim.Members {
		return faultf(KindMembers, path, "archive has more than %d members", t.lim.Members)
	}
	return nil
}

// enterParents walks up until it meets a directory that is known, whose own
// parents therefore are.
func (t *tree) enterParents(path string) error {
	for {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return nil
		}
		parent := path[:i]
		n := t.at(parent)
		switch {
		case n.found == MTreeDir || n.implied:
			return nil
		case n.found == MTreeLink:
			return faultf(KindParentSymlink, path, "%s lies below the symbolic link %s", show(path), show(parent))
		case n.found != 0:
			return faultf(KindParent, path, "%s lies below %s, which is no directory", show(path), show(parent))
		}
		n.implied = true
		t.count++
		path = parent
	}
}

// target returns the facts of a regular data member that came earlier.
func (t *tree) target(path string) (MTreeEntry, bool) {
	n := t.nodes[path]
	if n == nil || n.found != MTreeFile || path == "" || isMetadata(path) {
		return MTreeEntry{}, false
	}
	return n.facts, true
}

// settle compares a member that is complete with what .MTREE lists, or keeps it
// for when .MTREE comes.
func (t *tree) settle(got MTreeEntry) error {
	n := t.at(got.Path)
	if !t.listed {
		if isMetadata(got.Path) {
			t.early = append(t.early, got)
		} else {
			n.facts = got // no .MTREE will come after data
		}
		return t.addNames(got)
	}
	if !n.listed {
		return faultf(KindMTreeUnlisted, got.Path, ".MTREE does not list %s", show(got.Path))
	}
	return compareFacts(&n.facts, &got)
}

// settleEarly compares what came before .MTREE, now that it is read.
func (t *tree) settleEarly() error {
	for _, got := range t.early {
		if err := t.settle(got); err != nil {
			return err
		}
	}
	t.early = nil
	return nil
}

// finish checks that nothing .MTREE lists is missing.
func (t *tree) finish() error {
	var absent []string
	for path, n := range t.nodes {
		if n.listed && n.found == 0 {
			absent = append(absent, path)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	first := slices.Min(absent)
	return faultf(KindMTreeAbsent, first, ".MTREE lists %s, which is not in the archive", show(first))
}

// files returns the list for a files database: all data, directories with a
// slash, byte-sorted.
func (t *tree) files() []string {
	files := make([]string, 0, len(t.nodes))
	for path, n := range t.nodes {
		switch {
		case n.found == 0 || path[0] == '.' && isMetadata(path):
		case n.found == MTreeDir:
			files = append(files, path+"/")
		default:
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return files
}

// foldClashes returns the paths that are the same as another one but for case.
// Hashes stand for those in lower case, which would take as much as all others.
func (t *tree) foldClashes() []string {
	var clashes []string
	seed, folded := maphash.MakeSeed(), make(map[uint64]bool)
	for path, n := range t.nodes {
		low := strings.ToLower(path)
		if low == path || n.found == 0 {
			continue
		}
		hash := maphash.String(seed, low)
		if other := t.nodes[low]; other != nil && other.found != 0 || folded[hash] {
			clashes = append(clashes, path)
		}
		folded[hash] = true
	}
	slices.Sort(clashes)
	return clashes
}

// compareFacts holds a member to its line in .MTREE. Times are left out: pacman
// sets them from the archive and nobody relies on them.
func compareFacts(want, got *MTreeEntry) error {
	path := got.Path
	switch {
	case want.Type != got.Type:
		return faultf(KindMTreeType, path, ".MTREE: %s is a %s, in the archive a %s", show(path), typeName(want.Type), typeName(got.Type))
	case want.Mode != got.Mode:
		return faultf(KindMTreeMode, path, ".MTREE: %s has mode %o, in the archive %o", show(path), want.Mode, got.Mode)
	case want.UID != got.UID || want.GID != got.GID:
		return faultf(KindMTreeOwner, path, ".MTREE: %s is owned by %d:%d, in the archive by %d:%d", show(path), want.UID, want.GID, got.UID, got.GID)
	case want.Size != got.Size:
		return faultf(KindMTreeFileSize, path, ".MTREE: %s has %d bytes, in the archive %d", show(path), want.Size, got.Size)
	case want.SHA256 != got.SHA256:
		return faultf(KindMTreeDigest, path, ".MTREE: %s has another SHA-256 in the archive", show(path))
	case want.Link != got.Link:
		return faultf(KindMTreeLink, path, ".MTREE: %s links to %s, in the archive to %s", show(path), show(want.Link), show(got.Link))
	}
	return nil
}

func typeName(t byte) string {
	switch t {
	case MTreeFile:
		return "file"
	case MTreeDir:
		return "directory"
	case MTreeLink:
		return "symbolic link"
	}
	return fmt.Sprintf("member of type %q", t)
}

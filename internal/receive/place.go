package receive

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// place is what a path means in the tree that scp and sftp see:
//
//	/FILE             a package or signature on its way to the default repository
//	/R/FILE           … to R
//	/R/ARCH/FILE      what is published, as over HTTPS
//
// Only its parts are used; the path itself never meets the file system.
type place struct{ repo, arch, file string }

var errNoFile = refuse(repo.ErrNotFound, "no such file")

func parsePlace(p string) (place, error) {
	part := strings.Split(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
	last := len(part) - 1
	if last > 2 {
		return place{}, errNoFile
	}
	var at place
	if last == 2 || isPackageFile(part[last]) {
		at.file, part = part[last], part[:last]
	}
	for i, into := range []*string{&at.repo, &at.arch} {
		if i < len(part) {
			*into = part[i]
		}
	}
	return at, nil
}

// parseTarget is parsePlace for a path to put a file at, where the last part is
// the file's name whatever it looks like.
func parseTarget(p string) (place, error) {
	dir, file := path.Split(path.Clean("/" + p))
	at, err := parsePlace(dir)
	switch {
	case err != nil || at.file != "" || file == "":
		return place{}, refuse(repo.ErrUsage, "put package files into / or /REPO/")
	case at.arch != "":
		return place{}, refuse(repo.ErrUsage, "put packages into /%s/; they find their architecture themselves", at.repo)
	}
	at.file = file
	return at, nil
}

func isPackageFile(name string) bool {
	_, err := alpm.ParseFileName(strings.TrimSuffix(name, ".sig"))
	return err == nil
}

// node is a file or directory of that tree.
type node struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func (n node) Name() string       { return n.name }
func (n node) Size() int64        { return n.size }
func (n node) Mode() fs.FileMode  { return n.mode }
func (n node) ModTime() time.Time { return n.time }
func (n node) IsDir() bool        { return n.mode.IsDir() }
func (n node) Sys() any           { return nil }

// directory is older than anything in it: it has no time of its own.
func directory(name string) node {
	return node{name: name, mode: fs.ModeDir | 0o755, time: time.Unix(0, 0)}
}

func regular(name string, info fs.FileInfo) node {
	return node{name: name, size: info.Size(), mode: 0o644, time: info.ModTime()}
}

// sees asks whether the caller may do anything in a repository, or in its
// database for an architecture. What it may not see is absent.
func (t *transfer) sees(repo, arch string) bool {
	a := access{repo: repo, arch: arch}
	return t.push.may(a) || t.pull.may(a) || t.list.may(a)
}

// stat describes what is at p.
func (t *transfer) stat(p place) (node, error) {
	switch {
	case p == place{}:
		return directory("/"), nil
	case p.file == "":
		return t.statDirectory(p)
	case p.arch == "":
		return t.statSent(p)
	}
	f, err := t.published(p, t.list, t.pull)
	if err != nil {
		return node{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return node{}, err
	}
	return regular(p.file, info), nil
}

func (t *transfer) statDirectory(p place) (node, error) {
	spec, ok := t.Store.Spec(p.repo)
	if !ok || !t.sees(p.repo, p.arch) {
		return node{}, errNoFile
	}
	if p.arch == "" {
		return directory(p.repo), nil
	}
	for _, arch := range spec.Arches {
		if arch == p.arch {
			return directory(arch), nil
		}
	}
	return node{}, errNoFile
}

// statSent describes a file that the caller has sent, in this session or in
// part in an earlier one.
func (t *transfer) statSent(p place) (node, error) {
	target, err := t.destination(p)
	if err != nil {
		return node{}, errNoFile
	}
	if size, ok := t.taken[p.file]; ok && t.upload.repo == target {
		return node{name: p.file, size: size, mode: 0o644, time: time.Now()}, nil
	}
	info, err := t.partials().stat(target, p.file)
	if err != nil {
		return node{}, errNoFile
	}
	return regular(p.file, info), nil
}

// published opens a published file for a caller who may have it by one of the
// verbs that as stands for.
func (t *transfer) published(p place, as ...*call) (*os.File, error) {
	for _, c := range as {
		if !c.mayFetch(p.repo, p.arch, p.file) {
			continue
		}
		f, err := t.Store.OpenFile(p.repo, p.arch, p.file)
		if errors.Is(err, repo.ErrNotFound) {
			return nil, errNoFile
		}
		return f, err
	}
	return nil, errNoFile
}

// fetch opens a published file to be read. One that the caller may only see is
// refused.
func (t *transfer) fetch(p place) (*os.File, error) {
	f, err := t.published(p, t.pull)
	if err == nil {
		return f, nil
	}
	if _, visible := t.stat(p); visible == nil {
		return nil, refuse(repo.ErrDenied, "not allowed: %s", t.by.has())
	}
	return nil, err
}

// names lists what is in the directory p.
func (t *transfer) names(p place) (names []string, err error) {
	if p.file != "" {
		return nil, refuse(repo.ErrUsage, "not a directory")
	}
	if _, err := t.stat(p); err != nil {
		return nil, err
	}
	switch {
	case p.repo == "":
		for _, spec := range t.Store.Specs() {
			if t.sees(spec.Name, "") {
				names = append(names, spec.Name)
			}
		}
	case p.arch == "":
		names = t.inRepo(p.repo)
	default:
		return t.inDatabase(p)
	}
	return names, nil
}

func (t *transfer) inRepo(name string) (names []string) {
	spec, _ := t.Store.Spec(name)
	for _, arch := range spec.Arches {
		if t.sees(name, arch) {
			names = append(names, arch)
		}
	}
	for _, info := range t.partials().list(name) {
		names = append(names, info.Name())
	}
	return names
}

// inDatabase lists the published files the caller may see.
func (t *transfer) inDatabase(p place) (names []string, err error) {
	v, err := t.Store.View(p.repo, p.arch)
	if err != nil {
		return nil, err
	}
	for _, half := range []string{".db", ".files"} {
		if t.list.mayFetch(p.repo, p.arch, p.repo+half) || t.pull.mayFetch(p.repo, p.arch, p.repo+half) {
			names = append(names, p.repo+half, p.repo+half+".sig")
		}
	}
	for e := range v.Entries() {
		if t.list.mayFind(v, e) || t.pull.mayFind(v, e) {
			names = append(names, e.FileName, e.FileName+".sig")
		}
	}
	return names, nil
}

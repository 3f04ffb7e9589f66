// Package alpmtest builds Arch packages for tests: valid ones, and ones
// broken in exactly one named way.
//
// It is written from the format descriptions and imports nothing of package
// alpm, so that the reader is never tested against its own idea of the format.
// The same arguments always give the same bytes. It never touches the file
// system and is not for production use: nothing here checks its input.
package alpmtest

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// BuildDate is the builddate of every package that does not set its own:
// 2024-01-02 03:04:05 UTC.
const BuildDate = 1704164645

// A Member is one entry of the package's tar.
type Member struct {
	Name string // as stored; directories end in "/"
	Type byte   // a tar type flag: '0' regular, '5' directory, '2' symlink, '1' hard link, …
	Mode int64
	UID  int
	GID  int
	Link string
	PAX  map[string]string // further pax records

	Data   []byte // content of a regular member
	Random int64  // when not 0: this many pseudo-random bytes instead of Data

	Raw []byte // when not nil: written as it is, in place of header, content and padding
}

// File makes a regular member of mode 0644.
func File(name, content string) Member {
	return Member{Name: name, Type: '0', Mode: 0o644, Data: []byte(content)}
}

// Dir makes a directory of mode 0755; name may end in "/" or not.
func Dir(name string) Member {
	return Member{Name: strings.TrimSuffix(name, "/") + "/", Type: '5', Mode: 0o755}
}

// Symlink makes a symbolic link.
func Symlink(name, target string) Member {
	return Member{Name: name, Type: '2', Mode: 0o777, Link: target}
}

// HardLink makes a hard link to an earlier member.
func HardLink(name, target string) Member {
	return Member{Name: name, Type: '1', Mode: 0o644, Link: target}
}

// A Field is one "key = value" line of .PKGINFO or .BUILDINFO.
type Field struct{ Key, Value string }

// An Option changes the package under construction.
type Option func(*Spec)

// Spec is the package under construction; only options change it.
type Spec struct {
	name, version, base, arch, ext string
	desc, url, packager            string
	filename                       string
	buildDate                      int64
	format                         int
	extra                          []Field
	data                           []Member
	empty                          bool
	without                        []string

	mapPkgInfo, mapBuildInfo, mapMTree func(string) string
	mapMembers                         func([]Member) []Member
	mapTar, mapFile                    func([]byte) []byte
}

// Package returns the bytes of a package and its file name. version is
// "[epoch:]pkgver-pkgrel". Without options it is an x86_64 package of format 2,
// zstd-compressed, with one small file usr/share/NAME/version.
func Package(name, version string, opts ...Option) (data []byte, filename string) {
	var buf bytes.Buffer
	filename, err := Write(&buf, name, version, opts...)
	if err != nil {
		panic(fmt.Sprintf("alpmtest: %s %s: %v", name, version, err))
	}
	return buf.Bytes(), filename
}

// Write streams a package to w and returns its file name. Memory use does not
// grow with Payload. The only errors are those of w.
func Write(w io.Writer, name, version string, opts ...Option) (filename string, err error) {
	s := &Spec{
		name: name, version: version, base: name, arch: "x86_64", ext: ".pkg.tar.zst",
		desc: "The package " + name, url: "https://example.org/" + name,
		packager: "Some One <some.one@example.org>", buildDate: BuildDate, format: 2,
	}
	for _, o := range opts {
		o(s)
	}
	if s.filename == "" {
		s.filename = fmt.Sprintf("%s-%s-%s%s", s.name, s.version, s.arch, s.ext)
	}
	return s.filename, s.write(w)
}

// Arch sets the architecture ("x86_64").
func Arch(arch string) Option { return func(s *Spec) { s.arch = arch } }

// Base sets pkgbase, which is otherwise the package's name.
func Base(base string) Option { return func(s *Spec) { s.base = base } }

// Desc sets pkgdesc; it may be empty.
func Desc(desc string) Option { return func(s *Spec) { s.desc = desc } }

// URL sets url; it may be empty.
func URL(url string) Option { return func(s *Spec) { s.url = url } }

// Packager sets packager.
func Packager(p string) Option { return func(s *Spec) { s.packager = p } }

// Date sets builddate and every member's time, in Unix seconds.
func Date(unix int64) Option { return func(s *Spec) { s.buildDate = unix } }

// V1 writes the formats of makepkg 5: no xdata, .BUILDINFO format 1, md5 in .MTREE.
func V1() Option { return func(s *Spec) { s.format = 1 } }

// Info appends a line to .PKGINFO, such as Info("depend", "glibc>=2.38").
func Info(key, value string) Option {
	return func(s *Spec) { s.extra = append(s.extra, Field{key, value}) }
}

// With adds members. Missing parent directories are added, and the whole is
// sorted as makepkg does it; .MTREE lists them. ".INSTALL" and ".CHANGELOG" go here too.
func With(members ...Member) Option {
	return func(s *Spec) { s.data = append(s.data, members...) }
}

// Payload adds usr/share/NAME/payload: size bytes that do not compress.
func Payload(size int64) Option {
	return func(s *Spec) {
		s.data = append(s.data, Member{Name: "usr/share/" + s.name + "/payload", Type: '0', Mode: 0o644, Random: size})
	}
}

// Empty leaves out the default file: a meta package, unless others are added.
func Empty() Option { return func(s *Spec) { s.empty = true } }

// Without leaves out metadata members: ".PKGINFO", ".BUILDINFO", ".MTREE".
func Without(members ...string) Option {
	return func(s *Spec) { s.without = append(s.without, members...) }
}

// Ext sets the compression by its file name extension: ".pkg.tar.zst",
// ".pkg.tar.gz", ".pkg.tar.xz" or ".pkg.tar".
func Ext(ext string) Option { return func(s *Spec) { s.ext = ext } }

// FileName makes Package return this file name; the content stays as it is.
func FileName(name string) Option { return func(s *Spec) { s.filename = name } }

// MapPkgInfo edits the text of .PKGINFO; .MTREE is made afterwards and agrees.
func MapPkgInfo(f func(string) string) Option {
	return func(s *Spec) { s.mapPkgInfo = then(s.mapPkgInfo, f) }
}

// MapBuildInfo edits the text of .BUILDINFO; .MTREE is made afterwards and agrees.
func MapBuildInfo(f func(string) string) Option {
	return func(s *Spec) { s.mapBuildInfo = then(s.mapBuildInfo, f) }
}

// MapMTree edits the text of .MTREE before it is compressed.
func MapMTree(f func(string) string) Option {
	return func(s *Spec) { s.mapMTree = then(s.mapMTree, f) }
}

// MapMembers edits the final list of members, .MTREE included, which is no
// longer adapted.
func MapMembers(f func([]Member) []Member) Option {
	return func(s *Spec) { s.mapMembers = then(s.mapMembers, f) }
}

// MapTar edits the uncompressed archive, padding included.
func MapTar(f func([]byte) []byte) Option { return func(s *Spec) { s.mapTar = then(s.mapTar, f) } }

// MapFile edits the finished file.
func MapFile(f func([]byte) []byte) Option { return func(s *Spec) { s.mapFile = then(s.mapFile, f) } }

// then runs the edits of one kind in the order of their options.
func then[T any](first, second func(T) T) func(T) T {
	if first == nil {
		return second
	}
	return func(v T) T { return second(first(v)) }
}

// members returns everything the archive will hold, in order.
func (s *Spec) members() []Member {
	data := s.dataMembers()
	members := append([]Member{}, data...)
	add := func(name, text string) {
		if !slices.Contains(s.without, name) {
			members = append(members, File(name, text))
		}
	}
	add(".PKGINFO", edit(s.mapPkgInfo, s.pkgInfo(data)))
	add(".BUILDINFO", edit(s.mapBuildInfo, s.buildInfo()))
	add(".MTREE", string(compressMTree(edit(s.mapMTree, s.mtree(members)))))
	slices.SortStableFunc(members, func(a, b Member) int { return strings.Compare(sortKey(a.Name), sortKey(b.Name)) })
	if s.mapMembers != nil {
		members = s.mapMembers(members)
	}
	return members
}

func edit(f func(string) string, text string) string {
	if f == nil {
		return text
	}
	return f(text)
}

// sortKey puts metadata first, even before names that sort below ".".
func sortKey(name string) string {
	if strings.HasPrefix(name, ".") {
		return "\x00" + name
	}
	return name
}

// dataMembers returns the members asked for, with their parent directories.
func (s *Spec) dataMembers() []Member {
	data := slices.Clone(s.data)
	if !s.empty {
		data = append(data, File("usr/share/"+s.name+"/version", s.name+" "+s.version+"\n"))
	}
	have := map[string]bool{}
	for _, m := range data {
		have[strings.TrimSuffix(m.Name, "/")] = true
	}
	for _, m := range slices.Clone(data) {
		for dir := path.Dir(strings.TrimSuffix(m.Name, "/")); dir != "." && dir != "/" && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			data = append(data, Dir(dir))
		}
	}
	return data
}

package alpm_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// unlisted appends members that .MTREE does not know.
func unlisted(members ...alpmtest.Member) alpmtest.Option {
	return alpmtest.MapMembers(func(m []alpmtest.Member) []alpmtest.Member { return append(m, members...) })
}

func raw(name string, typeflag byte) alpmtest.Member {
	return alpmtest.Member{Raw: alpmtest.RawMember(name, typeflag, 0)}
}

func mtree(old, new string) alpmtest.Option {
	return alpmtest.MapMTree(func(s string) string { return strings.Replace(s, old, new, 1) })
}

func pkgInfo(old, new string) alpmtest.Option {
	return alpmtest.MapPkgInfo(func(s string) string { return strings.Replace(s, old, new, 1) })
}

func buildInfo(old, new string) alpmtest.Option {
	return alpmtest.MapBuildInfo(func(s string) string { return strings.Replace(s, old, new, 1) })
}

// edit changes one member after .MTREE was made.
func edit(name string, f func(*alpmtest.Member)) alpmtest.Option {
	return alpmtest.MapMembers(func(members []alpmtest.Member) []alpmtest.Member {
		i := slices.IndexFunc(members, func(m alpmtest.Member) bool { return m.Name == name })
		f(&members[i])
		return members
	})
}

func pax(key, value string) alpmtest.Member {
	return alpmtest.Member{Name: "usr/pax", Type: '0', Mode: 0o644, PAX: map[string]string{key: value}}
}

// version is the file that every package of alpmtest has.
const version = "usr/share/foo/version"

// badPackages is every class of bad package, and the kind of fault it is refused
// with.
var badPackages = map[string]struct {
	kind string
	opts []alpmtest.Option
}{
	"file name of another version": {alpm.KindFileNameMismatch, []alpmtest.Option{alpmtest.FileName("foo-1:2.0-2-x86_64.pkg.tar.zst")}},
	"file name of another name":    {alpm.KindFileNameMismatch, []alpmtest.Option{alpmtest.FileName("bar-1:2.0-1-x86_64.pkg.tar.zst")}},
	"file name of another arch":    {alpm.KindFileNameMismatch, []alpmtest.Option{alpmtest.FileName("foo-1:2.0-1-any.pkg.tar.zst")}},
	"bad file name":                {alpm.KindFileName, []alpmtest.Option{alpmtest.FileName("foo.zip")}},

	"other compression":        {alpm.KindCompressionMismatch, []alpmtest.Option{alpmtest.FileName("foo-1:2.0-1-x86_64.pkg.tar.xz")}},
	"plain tar as zst":         {alpm.KindCompressionMismatch, []alpmtest.Option{alpmtest.Ext(".pkg.tar"), alpmtest.FileName("foo-1:2.0-1-x86_64.pkg.tar.zst")}},
	"empty file":               {alpm.KindCompressionMismatch, []alpmtest.Option{alpmtest.MapFile(func([]byte) []byte { return nil })}},
	"empty plain file":         {alpm.KindTarEnd, []alpmtest.Option{alpmtest.Ext(".pkg.tar"), alpmtest.MapFile(func([]byte) []byte { return nil })}},
	"text":                     {alpm.KindTarCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar"), alpmtest.MapFile(func([]byte) []byte { return bytes.Repeat([]byte("hello "), 400) })}},
	"compressed twice":         {alpm.KindTarCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar.gz"), alpmtest.MapFile(gz)}},
	"flipped bit":              {alpm.KindCompressionCorrupt, []alpmtest.Option{flipFromEnd(1)}},
	"flipped bit in gz":        {alpm.KindCompressionCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar.gz"), flipFromEnd(8)}},
	"flipped bit in xz":        {alpm.KindCompressionCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar.xz"), alpmtest.MapFile(flipXZCheck)}},
	"flipped bit in xz index":  {alpm.KindCompressionCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar.xz"), flipFromEnd(14)}},
	"flipped bit in xz footer": {alpm.KindCompressionCorrupt, []alpmtest.Option{alpmtest.Ext(".pkg.tar.xz"), flipFromEnd(6)}},
	"window of 256 MiB":        {alpm.KindCompressionWindow, []alpmtest.Option{alpmtest.Ext(".pkg.tar"), alpmtest.FileName("foo-1:2.0-1-x86_64.pkg.tar.zst"), alpmtest.MapFile(wideZstd)}},
	"segment of 1 GiB":         {alpm.KindCompressionWindow, []alpmtest.Option{alpmtest.MapFile(func([]byte) []byte { return []byte("\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40\x01\x00\x00") })}},
	"dictionary of 1 GiB":      {alpm.KindCompressionWindow, []alpmtest.Option{alpmtest.Ext(".pkg.tar.xz"), alpmtest.MapFile(wideXZ)}},
	"many xz blocks":           {alpm.KindCompressionWindow, []alpmtest.Option{alpmtest.Ext(".pkg.tar.xz"), alpmtest.MapFile(manyXZBlocks)}},

	"no end of archive":   {alpm.KindTarEnd, []alpmtest.Option{alpmtest.MapTar(func(b []byte) []byte { return b[:len(bytes.TrimRight(b, "\x00"))/512*512+512] })}},
	"one zero block":      {alpm.KindTarEnd, []alpmtest.Option{alpmtest.MapTar(func(b []byte) []byte { return b[:len(bytes.TrimRight(b, "\x00"))/512*512+1024] })}},
	"two archives":        {alpm.KindTarTrailing, []alpmtest.Option{alpmtest.MapTar(func(b []byte) []byte { return append(b, b...) })}},
	"two frames of one":   {alpm.KindTarTrailing, []alpmtest.Option{alpmtest.MapFile(func(b []byte) []byte { return append(b, b...) })}},
	"byte after the end":  {alpm.KindTarTrailing, []alpmtest.Option{alpmtest.MapTar(func(b []byte) []byte { return append(b, 'x') })}},
	"corrupt header":      {alpm.KindTarCorrupt, []alpmtest.Option{alpmtest.MapTar(func(b []byte) []byte { b[0] ^= 1; return b })}},
	"character device":    {alpm.KindMemberType, []alpmtest.Option{unlisted(raw("usr/null", '3'))}},
	"block device":        {alpm.KindMemberType, []alpmtest.Option{unlisted(raw("usr/sda", '4'))}},
	"fifo":                {alpm.KindMemberType, []alpmtest.Option{unlisted(raw("usr/fifo", '6'))}},
	"contiguous file":     {alpm.KindMemberType, []alpmtest.Option{unlisted(raw("usr/cont", '7'))}},
	"volume label":        {alpm.KindMemberType, []alpmtest.Option{unlisted(raw("label", 'V'))}},
	"global pax header":   {alpm.KindMemberType, []alpmtest.Option{unlisted(alpmtest.Member{Raw: globalPax()})}},
	"sparse file":         {alpm.KindMemberType, []alpmtest.Option{unlisted(alpmtest.Member{Raw: sparse()})}},
	"directory with size": {alpm.KindMemberSize, []alpmtest.Option{unlisted(alpmtest.Member{Raw: alpmtest.RawMember("usr/d/", '5', 512)})}},
	"foreign pax record":  {alpm.KindPaxKey, []alpmtest.Option{unlisted(pax("SCHILY.xattr.user.x", "1"))}},
	"acl":                 {alpm.KindPaxKey, []alpmtest.Option{unlisted(pax("SCHILY.acl.access", "user::rwx"))}},
	"deleted pax record":  {alpm.KindPaxKey, []alpmtest.Option{unlisted(alpmtest.Member{Raw: paxRecord("9 gname=\n")})}},
	"huge owner":          {alpm.KindMemberOwner, []alpmtest.Option{unlisted(alpmtest.Member{Raw: paxRecord("18 uid=4294967296\n")})}},

	"absolute path":         {alpm.KindPathEscape, []alpmtest.Option{unlisted(raw("/etc/passwd", '0'))}},
	"parent path":           {alpm.KindPathEscape, []alpmtest.Option{unlisted(raw("usr/../../esc", '0'))}},
	"leading parent":        {alpm.KindPathEscape, []alpmtest.Option{unlisted(raw("../esc", '0'))}},
	"leading dot slash":     {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("./usr/x", '0'))}},
	"root":                  {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("./", '5'))}},
	"empty path":            {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("", '0'))}},
	"double slash":          {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("usr//x", '0'))}},
	"file with slash":       {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("usr/x/", '2'))}},
	"section as path":       {alpm.KindPathSyntax, []alpmtest.Option{unlisted(raw("%DEPENDS%", '0'))}},
	"newline":               {alpm.KindPathControl, []alpmtest.Option{unlisted(raw("usr/a\nb", '0'))}},
	"long odd path":         {alpm.KindPathControl, []alpmtest.Option{alpmtest.With(alpmtest.File(strings.Repeat("usr/\x01\u009b/", 300)+"x", ""))}},
	"escape sequence":       {alpm.KindPathControl, []alpmtest.Option{unlisted(raw("usr/\x1b[31m", '0'))}},
	"C1 control":            {alpm.KindPathControl, []alpmtest.Option{unlisted(raw("usr/\u009b", '0'))}},
	"reordered path":        {alpm.KindPathControl, []alpmtest.Option{unlisted(raw("usr/\u202egnp.sh", '0'))}},
	"Latin-1":               {alpm.KindPathUTF8, []alpmtest.Option{unlisted(raw("usr/\xe4", '0'))}},
	"long component":        {alpm.KindPathLength, []alpmtest.Option{alpmtest.With(alpmtest.File("usr/"+strings.Repeat("x", 256), ""))}},
	"long path":             {alpm.KindPathLength, []alpmtest.Option{alpmtest.With(alpmtest.Dir(strings.Repeat("x/", 2100)))}},
	"same file twice":       {alpm.KindDuplicate, []alpmtest.Option{unlisted(alpmtest.File(version, "foo 1:2.0-1\n"))}},
	"directory as file":     {alpm.KindDuplicate, []alpmtest.Option{unlisted(raw("usr/share", '0'))}},
	"metadata twice":        {alpm.KindDuplicate, []alpmtest.Option{alpmtest.MapMembers(func(m []alpmtest.Member) []alpmtest.Member { return append(m[:1:1], m...) })}},
	"below a file":          {alpm.KindParent, []alpmtest.Option{unlisted(raw(version+"/x", '0'))}},
	"below a later file":    {alpm.KindParent, []alpmtest.Option{alpmtest.With(alpmtest.File("opt/a/b", "")), alpmtest.MapMembers(dropDirs), unlisted(raw("opt/a", '0'))}},
	"below a symlink":       {alpm.KindParentSymlink, []alpmtest.Option{alpmtest.With(alpmtest.Symlink("usr/lib64", "lib")), unlisted(raw("usr/lib64/x", '0'))}},
	"below a later link":    {alpm.KindParent, []alpmtest.Option{alpmtest.With(alpmtest.File("opt/a/b", "")), alpmtest.MapMembers(dropDirs), unlisted(alpmtest.Symlink("opt/a", "/etc"))}},
	"hard link outside":     {alpm.KindHardLink, []alpmtest.Option{unlisted(alpmtest.HardLink("usr/x", "/etc/passwd"))}},
	"hard link forward":     {alpm.KindHardLink, []alpmtest.Option{alpmtest.With(alpmtest.File("usr/b", ""), alpmtest.HardLink("usr/a", "usr/b"))}},
	"hard link to dir":      {alpm.KindHardLink, []alpmtest.Option{unlisted(alpmtest.HardLink("usr/x", "usr/share"))}},
	"hard link to itself":   {alpm.KindHardLink, []alpmtest.Option{unlisted(alpmtest.HardLink("usr/x", "usr/x"))}},
	"listed link to itself": {alpm.KindHardLink, []alpmtest.Option{alpmtest.With(alpmtest.File("usr/x", "")), edit("usr/x", func(m *alpmtest.Member) { m.Type, m.Link = '1', "usr/x" })}},
	"hard link to meta":     {alpm.KindHardLink, []alpmtest.Option{unlisted(alpmtest.HardLink("usr/x", ".PKGINFO"))}},
	"hard link to link":     {alpm.KindHardLink, []alpmtest.Option{alpmtest.With(alpmtest.Symlink("usr/a", "b")), unlisted(alpmtest.HardLink("usr/x", "usr/a"))}},
	"symlink to nothing":    {alpm.KindSymlink, []alpmtest.Option{unlisted(raw("usr/x", '2'))}},
	"symlink to escape":     {alpm.KindSymlink, []alpmtest.Option{unlisted(alpmtest.Symlink("usr/x", "a\x1b"))}},

	"unknown dot file":    {alpm.KindDotFile, []alpmtest.Option{alpmtest.With(alpmtest.File(".PROFILE", ""))}},
	"dot directory":       {alpm.KindDotFile, []alpmtest.Option{alpmtest.With(alpmtest.File(".config/x", ""))}},
	"metadata is a link":  {alpm.KindMetaType, []alpmtest.Option{alpmtest.With(alpmtest.Symlink(".INSTALL", "usr/x"))}},
	"metadata after data": {alpm.KindMetaOrder, []alpmtest.Option{unlisted(alpmtest.File(".INSTALL", ""))}},

	"no .PKGINFO":           {alpm.KindPkgInfoMissing, []alpmtest.Option{alpmtest.Without(".PKGINFO")}},
	"no .PKGINFO, no data":  {alpm.KindPkgInfoMissing, []alpmtest.Option{alpmtest.Without(".PKGINFO"), alpmtest.Empty()}},
	".PKGINFO after data":   {alpm.KindPkgInfoMissing, []alpmtest.Option{alpmtest.MapMembers(func(m []alpmtest.Member) []alpmtest.Member { slices.Reverse(m); return m })}},
	"no .BUILDINFO":         {alpm.KindBuildInfoMissing, []alpmtest.Option{alpmtest.Without(".BUILDINFO")}},
	"no .MTREE":             {alpm.KindMTreeMissing, []alpmtest.Option{alpmtest.Without(".MTREE")}},
	"CRLF":                  {"pkginfo-value", []alpmtest.Option{alpmtest.MapPkgInfo(func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") })}},
	"shell in a key":        {"pkginfo-unknown-key", []alpmtest.Option{alpmtest.Info("x[$(touch${IFS}PWNED)]", "1")}},
	"reordered description": {"pkginfo-value", []alpmtest.Option{alpmtest.Desc("A \u202eoof")}},
	"path as name":          {"pkginfo-value", []alpmtest.Option{pkgInfo("pkgname = foo", "pkgname = ../../../x")}},
	"name twice":            {"pkginfo-duplicate-key", []alpmtest.Option{alpmtest.Info("pkgname", "foo")}},
	"no arch":               {"pkginfo-missing-key", []alpmtest.Option{pkgInfo("arch = x86_64\n", "")}},
	"built tomorrow":        {alpm.KindBuildDate, []alpmtest.Option{alpmtest.Date(1 << 40)}},
	"build of another base": {alpm.KindBuildInfoMismatch, []alpmtest.Option{buildInfo("pkgbase = foo", "pkgbase = bar")}},
	"build by another":      {alpm.KindBuildInfoMismatch, []alpmtest.Option{buildInfo("packager = Some", "packager = Any")}},
	"build at another time": {alpm.KindBuildInfoMismatch, []alpmtest.Option{buildInfo("builddate = 17", "builddate = 16")}},
	"build of version":      {alpm.KindBuildInfoMismatch, []alpmtest.Option{buildInfo("2.0-1", "2.0-2")}},
	"build syntax":          {"buildinfo-syntax", []alpmtest.Option{buildInfo("format = 2", "format=2")}},

	".MTREE lacks a file":       {alpm.KindMTreeUnlisted, []alpmtest.Option{unlisted(alpmtest.File("usr/bin/foo", ""))}},
	".MTREE lacks .INSTALL":     {alpm.KindMTreeUnlisted, []alpmtest.Option{alpmtest.With(alpmtest.File(".INSTALL", "")), alpmtest.MapMTree(func(s string) string { return dropLines(s, ".INSTALL") })}},
	".MTREE lacks .PKGINFO":     {alpm.KindMTreeUnlisted, []alpmtest.Option{alpmtest.MapMTree(func(s string) string { return dropLines(s, ".PKGINFO") })}},
	".MTREE lists a ghost":      {alpm.KindMTreeAbsent, []alpmtest.Option{mtree("./usr ", "./ghost size=0 sha256digest="+strings.Repeat("0", 64)+"\n./usr ")}},
	".MTREE lists itself":       {alpm.KindMTreeSyntax, []alpmtest.Option{mtree("./usr ", "./.MTREE size=0 sha256digest="+strings.Repeat("0", 64)+"\n./usr ")}},
	".MTREE lists a file twice": {alpm.KindMTreeSyntax, []alpmtest.Option{mtree("./usr ", "./usr mode=755 type=dir\n./usr ")}},
	"other type":                {alpm.KindMTreeType, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.Type, m.Link, m.Data = '2', "x", nil })}},
	"other mode":                {alpm.KindMTreeMode, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.Mode = 0o4755 })}},
	"other directory mode":      {alpm.KindMTreeMode, []alpmtest.Option{edit("usr/", func(m *alpmtest.Member) { m.Mode = 0o777 })}},
	"other owner":               {alpm.KindMTreeOwner, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.UID = 1 })}},
	"other group":               {alpm.KindMTreeOwner, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.GID = 1 })}},
	"other size":                {alpm.KindMTreeFileSize, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.Data = []byte("x") })}},
	"other content":             {alpm.KindMTreeDigest, []alpmtest.Option{edit(version, func(m *alpmtest.Member) { m.Data = []byte("foo 1:2.0-2\n") })}},
	"other .INSTALL":            {alpm.KindMTreeDigest, []alpmtest.Option{alpmtest.With(alpmtest.File(".INSTALL", "good")), edit(".INSTALL", func(m *alpmtest.Member) { m.Data = []byte("evil") })}},
	"other .PKGINFO":            {alpm.KindMTreeDigest, []alpmtest.Option{edit(".PKGINFO", func(m *alpmtest.Member) { m.Data = bytes.Replace(m.Data, []byte("The "), []byte("Teh "), 1) })}},
	"other symlink":             {alpm.KindMTreeLink, []alpmtest.Option{alpmtest.With(alpmtest.Symlink("usr/x", "a")), edit("usr/x", func(m *alpmtest.Member) { m.Link = "b" })}},
	"hard link of other":        {alpm.KindMTreeDigest, []alpmtest.Option{alpmtest.With(alpmtest.File("usr/a", "a"), alpmtest.File("usr/b", "b"), alpmtest.HardLink("usr/c", "usr/a")), edit("usr/c", func(m *alpmtest.Member) { m.Link = "usr/b" })}},
}

func TestReadPackageRefuses(t *testing.T) {
	for name, c := range badPackages {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.opts...)
			t.Log(err)
			wantFault(t, err, c.kind)
		})
	}
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	z.Write(b)
	z.Close()
	return buf.Bytes()
}

// flipFromEnd hits a checksum behind the data.
func flipFromEnd(n int) alpmtest.Option {
	return alpmtest.MapFile(func(b []byte) []byte {
		b[len(b)-n] ^= 0x10
		return b
	})
}

// flipXZCheck hits the check of the last block, which is before index and footer.
func flipXZCheck(b []byte) []byte {
	index := (int(binary.LittleEndian.Uint32(b[len(b)-8:])) + 1) * 4
	b[len(b)-12-index-1] ^= 0x10
	return b
}

func wideZstd(b []byte) []byte {
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf, zstd.WithWindowSize(256<<20), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
	if err != nil {
		panic(err)
	}
	z.Write(b[:len(b)/2])
	z.Flush()
	z.Write(b[len(b)/2:])
	z.Close()
	return buf.Bytes()
}

func paxRecord(record string) []byte {
	h := alpmtest.RawMember("PaxHeaders/x", 'x', int64(len(record)))
	body := make([]byte, 512)
	copy(body, record)
	return slices.Concat(h, body, alpmtest.RawMember("usr/x", '0', 0))
}

func globalPax() []byte {
	h := alpmtest.RawMember("pax_global_header", 'g', 9)
	body := make([]byte, 512)
	copy(body, "9 path=a\n")
	return append(h, body...)
}

// sparse is an old GNU sparse file of one hole.
func sparse() []byte {
	h := alpmtest.RawMember("usr/sparse", 'S', 0)
	copy(h[257:], "ustar  \x00")
	copy(h[483:], "00000001000\x00")
	return fixChecksums(h)
}

// wideXZ raises the dictionary that the first block asks for.
func wideXZ(b []byte) []byte {
	n := 12 + (int(b[12])+1)*4
	i := bytes.LastIndex(b[12:n-4], []byte{0x21, 1}) + 12
	b[i+2] = 36 // 1 GiB
	fixXZHeader(b[12:n])
	return b
}

// manyXZBlocks has a stream of blocks that each want 64 MiB for nothing.
func manyXZBlocks(b []byte) []byte {
	block := []byte{2, 0, 0x21, 1, 28, 0, 0, 0, 0, 0, 0, 0}
	fixXZHeader(block)
	block = append(block, 0, 0, 0, 0)         // end of LZMA2, padding
	block = append(block, make([]byte, 8)...) // CRC-64 of nothing
	return slices.Concat(b[:12], bytes.Repeat(block, 100))
}

func fixXZHeader(h []byte) {
	n := len(h) - 4
	binary.LittleEndian.PutUint32(h[n:], crc32.ChecksumIEEE(h[:n]))
}

package alpm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

func TestReadPackage(t *testing.T) {
	opts := []alpmtest.Option{
		alpmtest.With(
			alpmtest.File(".INSTALL", "post_install() { :; }\n"),
			alpmtest.File("etc/foo.conf", "key = value\n"),
			alpmtest.File("usr/bin/foo", "#!/bin/sh\n"), alpmtest.HardLink("usr/bin/foo2", "usr/bin/foo"),
			alpmtest.Symlink("usr/lib/libfoo.so", "libfoo.so.1"), alpmtest.Symlink("usr/lib/%odd%", "../../nowhere at all"),
			alpmtest.File(`usr/share/foo/ü b=#\`, "odd"), alpmtest.Dir("usr/share/foo/empty"),
			alpmtest.File("usr/share/foo/"+strings.Repeat("l", 255), ""),
			alpmtest.File("usr/share/"+strings.Repeat("d", 120)+"/"+strings.Repeat("e", 120)+"/f", "deep"),
		),
		alpmtest.Info("backup", "etc/foo.conf"), alpmtest.Info("depend", "glibc"), alpmtest.Payload(300_000),
	}
	for _, ext := range []string{".pkg.tar", ".pkg.tar.zst", ".pkg.tar.gz", ".pkg.tar.xz"} {
		data, name := alpmtest.Package("foo", "1:2.0-1", append(opts, alpmtest.Ext(ext))...)
		p, err := alpm.ReadPackage(iotest.HalfReader(bytes.NewReader(data)), name, alpm.DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sum := sha256.Sum256(data)
		if p.File.String() != name || p.Size != int64(len(data)) || p.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: read as %s, %d bytes, %s", name, p.File, p.Size, p.SHA256)
		}
		want := []string{
			"etc/", "etc/foo.conf", "usr/", "usr/bin/", "usr/bin/foo", "usr/bin/foo2", "usr/lib/", "usr/lib/%odd%",
			"usr/lib/libfoo.so", "usr/share/", "usr/share/" + strings.Repeat("d", 120) + "/",
			"usr/share/" + strings.Repeat("d", 120) + "/" + strings.Repeat("e", 120) + "/",
			"usr/share/" + strings.Repeat("d", 120) + "/" + strings.Repeat("e", 120) + "/f",
			"usr/share/foo/", "usr/share/foo/empty/", "usr/share/foo/" + strings.Repeat("l", 255),
			"usr/share/foo/payload", `usr/share/foo/ü b=#\`, "usr/share/foo/version",
		}
		slices.Sort(want)
		if !reflect.DeepEqual(p.Files, want) {
			t.Errorf("files %q\nwant  %q", p.Files, want)
		}
		if len(p.Warnings) != 0 {
			t.Errorf("warnings: %q", p.Warnings)
		}
		if p.Info.Type != "pkg" || p.Build == nil || p.Build.Format != 2 {
			t.Errorf("metadata: %+v, %+v", p.Info, p.Build)
		}
		if err := p.Entry().Check(); err != nil {
			t.Error(err)
		}
		wantJSONRoundTrip(t, p)
	}
}

func TestReadPackageTolerates(t *testing.T) {
	for name, opts := range map[string][]alpmtest.Option{
		"v1":             {alpmtest.V1()},
		"empty":          {alpmtest.Empty(), alpmtest.Desc(""), alpmtest.URL("")},
		"split":          {alpmtest.Base("base")},
		"any":            {alpmtest.Arch("any")},
		"changelog":      {alpmtest.With(alpmtest.File(".CHANGELOG", "1: born\n"))},
		"dot below root": {alpmtest.With(alpmtest.File("usr/.hidden", ""), alpmtest.File("usr/..dots", ""))},
		"no directories": {alpmtest.MapMembers(dropDirs), alpmtest.MapMTree(func(s string) string { return dropLines(s, "type=dir") })},
		"skippable":      {alpmtest.MapFile(func(b []byte) []byte { return append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), b...) })},
		"unset":          {alpmtest.MapMTree(func(s string) string { return s + "/unset mode\n/set mode=644 type=file\n# end\n\n" })},
		"more zeros":     {alpmtest.MapTar(func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) })},
		"least zeros": {alpmtest.MapTar(func(b []byte) []byte {
			return append(bytes.TrimRight(b, "\x00"), make([]byte, 2048)...)[:len(bytes.TrimRight(b, "\x00"))/512*512+512+1024]
		})},
		"two frames": {alpmtest.Ext(".pkg.tar"), alpmtest.FileName("foo-1:2.0-1-x86_64.pkg.tar.zst"), alpmtest.MapFile(func(b []byte) []byte {
			return slices.Concat(zst(b[:1000]), zst(nil), zst(b[1000:]))
		})},
	} {
		if p, err := read(opts...); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(p.Warnings) != 0 {
			t.Errorf("%s: %q", name, p.Warnings)
		}
	}
}

func zst(b []byte) []byte {
	var buf bytes.Buffer
	z, err := alpmtest.Compressor(&buf, ".pkg.tar.zst")
	if err != nil {
		panic(err)
	}
	z.Write(b)
	z.Close()
	return buf.Bytes()
}

func dropDirs(members []alpmtest.Member) []alpmtest.Member {
	return slices.DeleteFunc(members, func(m alpmtest.Member) bool { return m.Type == '5' })
}

func dropLines(s, containing string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.Contains(line, containing) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestReadPackageWarns(t *testing.T) {
	suid := alpmtest.File("usr/bin/su", "")
	suid.Mode = 0o4755
	open := alpmtest.File("usr/share/foo/open", "")
	open.Mode = 0o666
	owned := alpmtest.File("usr/share/foo/owned", "")
	owned.UID, owned.GID = 1000, 100
	able := alpmtest.File("usr/bin/ping", "")
	able.PAX = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02 \x20"}
	sticky := alpmtest.Dir("var/tmp")
	sticky.Mode = 0o1777
	for want, opts := range map[string][]alpmtest.Option{
		"usr/bin/su has mode 4755 (set-user-ID, set-group-ID or sticky)": {alpmtest.With(suid)},
		"usr/share/foo/open is writable by everyone (mode 0666)":         {alpmtest.With(open)},
		"usr/share/foo/owned is owned by 1000:100":                       {alpmtest.With(owned)},
		"usr/bin/ping has file capabilities":                             {alpmtest.With(able)},
		"var/tmp has mode 1777 (set-user-ID, set-group-ID or sticky)":    {alpmtest.With(sticky)},
		".PKGINFO: size is 9, the files have 12 bytes":                   {alpmtest.MapPkgInfo(func(s string) string { return strings.Replace(s, "size = 12", "size = 9", 1) })},
		".PKGINFO: backup etc/foo is no file of the package":             {alpmtest.Info("backup", "etc/foo")},
		"usr/share/foo/VERSION differs from another path only in case":   {alpmtest.With(alpmtest.File("usr/share/foo/VERSION", ""))},
		"usr/share/foo/Ab differs from another path only in case":        {alpmtest.With(alpmtest.File("usr/share/foo/Ab", ""), alpmtest.File("usr/share/foo/aB", ""))},
	} {
		p := mustRead(t, opts...)
		if !slices.Contains(p.Warnings, want) && !(strings.Contains(want, "/Ab ") && len(p.Warnings) == 1) {
			t.Errorf("want %q, got %q", want, p.Warnings)
		}
	}
}

func TestReadPackageWarnsBriefly(t *testing.T) {
	var members []alpmtest.Member
	for i := range 200 {
		m := alpmtest.File(fmt.Sprintf("usr/share/%d", i), "")
		m.Mode = 0o666
		members = append(members, m)
	}
	p := mustRead(t, alpmtest.With(members...))
	if n := len(p.Warnings); n != 51 || p.Warnings[50] != "and 150 more" {
		t.Errorf("%d warnings, the last %q", n, p.Warnings[n-1])
	}
}

func TestReadPackageRequires(t *testing.T) {
	lim := alpm.DefaultLimits()
	lim.RequireMTree, lim.RequireBuildInfo = false, false
	data, name := alpmtest.Package("foo", "1-1", alpmtest.Without(".MTREE", ".BUILDINFO"),
		alpmtest.With(alpmtest.File("usr/a", "x"), alpmtest.HardLink("usr/b", "usr/a")))
	p, err := alpm.ReadPackage(bytes.NewReader(data), name, lim)
	if err != nil || p.Build != nil || len(p.Files) == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	// What is there counts, required or not.
	data, name = alpmtest.Package("foo", "1-1", alpmtest.MapMTree(func(s string) string { return dropLines(s, "version") }))
	_, err = alpm.ReadPackage(bytes.NewReader(data), name, lim)
	wantFault(t, err, alpm.KindMTreeUnlisted)
}

func TestReadPackageBuildDate(t *testing.T) {
	lim := alpm.DefaultLimits()
	data, name := alpmtest.Package("foo", "1-1")
	for ahead, want := range map[time.Duration]bool{23 * time.Hour: true, 25 * time.Hour: false} {
		lim.Now = time.Unix(alpmtest.BuildDate, 0).Add(-ahead)
		_, err := alpm.ReadPackage(bytes.NewReader(data), name, lim)
		if want && err != nil {
			t.Errorf("%v ahead: %v", ahead, err)
		} else if !want {
			wantFault(t, err, alpm.KindBuildDate)
		}
	}
}

// An error of the source is never the package's fault, wherever it comes, not
// even one that a decompressor takes for the end.
func TestReadPackageSourceFails(t *testing.T) {
	for _, ext := range []string{".pkg.tar", ".pkg.tar.zst", ".pkg.tar.gz", ".pkg.tar.xz"} {
		data, name := alpmtest.Package("foo", "1-1", alpmtest.Ext(ext), alpmtest.Payload(200_000))
		for _, broken := range []error{errors.New("connection lost"), io.ErrUnexpectedEOF} {
			for _, at := range []int{0, 3, 600, len(data) / 2, len(data)} {
				r := io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(broken))
				_, err := alpm.ReadPackage(r, name, alpm.DefaultLimits())
				if _, ok := errors.AsType[*alpm.Fault](err); ok || !errors.Is(err, broken) {
					t.Errorf("%s cut at %d by %v: got %v", ext, at, broken, err)
				}
			}
		}
	}
}

// No prefix of a package is a package, and no longer file.
func TestReadPackageEnds(t *testing.T) {
	for _, ext := range []string{".pkg.tar", ".pkg.tar.zst", ".pkg.tar.gz", ".pkg.tar.xz"} {
		// So much of the end of a plain tar may be left out: more zeros than the two blocks.
		data, name := alpmtest.Package("foo", "1-1", alpmtest.Ext(ext))
		spare := 0
		if ext == ".pkg.tar" {
			content := len(bytes.TrimRight(data, "\x00"))
			spare = len(data) - ((content+511)/512*512 + 1024)
		}
		for n := range len(data) - spare {
			if n > 100 && n < len(data)-spare-100 && n%41 != 0 {
				continue
			}
			_, err := alpm.ReadPackage(bytes.NewReader(data[:n]), name, alpm.DefaultLimits())
			if err == nil {
				t.Fatalf("%s cut to %d of %d bytes taken", name, n, len(data))
			}
			wantAnyFault(t, err)
		}
		for _, more := range []string{"x", "xx", "xxx", "xxxx", "x\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("x", 600)} {
			_, err := alpm.ReadPackage(strings.NewReader(string(data)+more), name, alpm.DefaultLimits())
			want := alpm.KindCompressionEnd
			if ext == ".pkg.tar" {
				want = alpm.KindTarTrailing
			}
			t.Run(fmt.Sprintf("%s and %d", ext, len(more)), func(t *testing.T) { wantFault(t, err, want) })
		}
		_, err := alpm.ReadPackage(io.MultiReader(bytes.NewReader(data), bytes.NewReader(data)), name, alpm.DefaultLimits())
		wantFault(t, err, alpm.KindTarTrailing)
	}
}

func TestReadPackageLimits(t *testing.T) {
	base := []alpmtest.Option{alpmtest.With(alpmtest.File(".INSTALL", strings.Repeat("#", 5000)), alpmtest.File("usr/share/"+strings.Repeat("x", 200), ""))}
	for name, c := range map[string]struct {
		set  func(*alpm.Limits)
		kind string
	}{
		"size":     {func(l *alpm.Limits) { l.Size = 1000 }, alpm.KindTooLarge},
		"unpacked": {func(l *alpm.Limits) { l.Unpacked = 10000 }, alpm.KindUnpackedSize},
		"members":  {func(l *alpm.Limits) { l.Members = 5 }, alpm.KindMembers},
		"path":     {func(l *alpm.Limits) { l.PathLen = 200 }, alpm.KindPathLength},
		"names":    {func(l *alpm.Limits) { l.Names = 200 }, alpm.KindNames},
		"pkginfo":  {func(l *alpm.Limits) { l.PkgInfo = 100 }, alpm.KindMetaSize},
		"meta":     {func(l *alpm.Limits) { l.Meta = 4999 }, alpm.KindMetaSize},
		"mtree":    {func(l *alpm.Limits) { l.MTree = 500 }, alpm.KindMTreeSize},
	} {
		t.Run(name, func(t *testing.T) {
			data, file := alpmtest.Package("foo", "1-1", base...)
			lim := alpm.DefaultLimits()
			if _, err := alpm.ReadPackage(bytes.NewReader(data), file, lim); err != nil {
				t.Fatal(err)
			}
			c.set(&lim)
			_, err := alpm.ReadPackage(bytes.NewReader(data), file, lim)
			wantFault(t, err, c.kind)
		})
	}
}

// A bomb of zeros stops early: not after the gigabytes it stands for.
func TestReadPackageBomb(t *testing.T) {
	zeros := alpmtest.Member{Raw: append(alpmtest.RawMember("usr/zeros", '0', 1<<30), make([]byte, 128<<20)...)}
	_, err := read(alpmtest.MapMembers(func(m []alpmtest.Member) []alpmtest.Member { return append(m, zeros) }),
		alpmtest.MapMTree(func(s string) string {
			return s + "./usr/zeros size=1073741824 sha256digest=" + strings.Repeat("0", 64) + "\n"
		}))
	wantFault(t, err, alpm.KindRatio)
}

// What is kept of a package is its list of files, not all that was known of them
// while it was read.
func TestPackageIsSmall(t *testing.T) {
	const n = 3000
	data, name := alpmtest.Package("foo", "1-1", manyFiles(n))
	before := liveBytes()
	p, err := alpm.ReadPackage(bytes.NewReader(data), name, alpm.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if each := (liveBytes() - before) / n; each > 150 {
		t.Errorf("%d bytes for each file", each)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(data)
}

func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

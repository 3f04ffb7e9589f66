package source

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serene/internal/source/aurtest"
)

// Repositories and servers made to hurt. None may run anything, leave anything
// in the tree's place, or cost more than the limits.

// wantNothingLeft fails when a fetch that failed has left a process or a tree.
func wantNothingLeft(t *testing.T, f *Fetcher, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), f.Cache) {
			t.Errorf("still running: %q", b)
		}
	}
}

// refuse fetches what must fail with class.
func refuse(t *testing.T, f *Fetcher, ref Ref, class error) error {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	_, err := f.Fetch(t.Context(), ref, dir, t.Output())
	wantClass(t, err, class)
	wantNothingLeft(t, f, dir)
	return err
}

// hang answers nothing until the client goes away; then, first, it calls begun.
func hang(begun func()) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		io.Copy(io.Discard, r.Body) // only then is a client that goes away noticed
		begun()
		<-r.Context().Done()
		return true
	}
}

func withoutProtocolV2(w http.ResponseWriter, r *http.Request) bool {
	r.Header.Del("Git-Protocol")
	return false
}

func TestHostileLinks(t *testing.T) {
	for target, class := range map[string]error{"/etc/passwd": ErrRefused, "../../etc/passwd": ErrRefused, "keys/../../x": ErrRefused, ".git/config": ErrRefused} {
		p := aurtest.Simple("foo", "1-1")
		p.Links = map[string]string{"out": target}
		refuse(t, fetcher(t), aurRef(aurtest.New(t, p), "foo"), class)
	}
	p := aurtest.Simple("foo", "1-1")
	delete(p.Files, "PKGBUILD")
	p.Files["real"], p.Links = "pkgver=1\n", map[string]string{"PKGBUILD": "real"}
	refuse(t, fetcher(t), aurRef(aurtest.New(t, p), "foo"), ErrRefused)
}

func TestHostileSubmodule(t *testing.T) {
	touched := filepath.Join(t.TempDir(), "touched")
	p := aurtest.Simple("foo", "1-1")
	p.Files[".gitmodules"] = "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c touch% " + touched + "\n\tupdate = !touch " + touched + "\n"
	s := aurtest.New(t, p)
	tree := run(t, s, "foo", "", "ls-tree", "master") + "\n160000 commit " + strings.Repeat("12", 20) + "\tx\n"
	point(t, s, "foo", run(t, s, "foo", tree, "mktree", "--missing"))
	// git's own check of .gitmodules may be the first to object.
	refuse(t, fetcher(t), aurRef(s, "foo"), ErrRefused)
	s.Remove("foo")
	p.Files[".gitmodules"] = "[submodule \"x\"]\n\tpath = x\n\turl = https://example.org/x.git\n"
	if err := s.Add(p); err != nil {
		t.Fatal(err)
	}
	tree = run(t, s, "foo", "", "ls-tree", "master") + "\n160000 commit " + strings.Repeat("12", 20) + "\tx\n"
	point(t, s, "foo", run(t, s, "foo", tree, "mktree", "--missing"))
	if err := refuse(t, fetcher(t), aurRef(s, "foo"), ErrRefused); !strings.Contains(err.Error(), "x is a submodule") {
		t.Error(err)
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("a submodule's command was run")
	}
}

// point makes a tree the next commit of master.
func point(t *testing.T, s *aurtest.Server, base, tree string) {
	t.Helper()
	commit := run(t, s, base, "", "commit-tree", "-m", "x", tree)
	run(t, s, base, "", "update-ref", "refs/heads/master", commit)
}

func TestHostilePaths(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	files := run(t, s, "foo", "", "ls-tree", "master")
	blob := run(t, s, "foo", "#!/bin/sh\n", "hash-object", "-w", "--stdin")
	sub := run(t, s, "foo", "100755 blob "+blob+"\tpost-checkout\n", "mktree")
	for _, name := range []string{".git", ".GIT", "..", ".", "-x", "a\x01b"} {
		point(t, s, "foo", run(t, s, "foo", files+"\n040000 tree "+sub+"\t"+name+"\n", "mktree"))
		refuse(t, fetcher(t), aurRef(s, "foo"), ErrRefused)
	}
}

// Attributes, filters and hooks in a repository are files like any other.
func TestHostileAttributes(t *testing.T) {
	touched := filepath.Join(t.TempDir(), "touched")
	p := aurtest.Simple("foo", "1-1")
	p.Files[".gitattributes"] = "* filter=evil ident export-subst eol=crlf\nhidden export-ignore\n*.bin filter=lfs diff=lfs merge=lfs\n"
	p.Files[".gitconfig"] = "[filter \"evil\"]\n\tsmudge = touch " + touched + "\n"
	p.Files[".lfsconfig"] = "[lfs]\n\turl = https://example.org/lfs\n"
	p.Files["hooks/post-checkout"] = "#!/bin/sh\ntouch " + touched + "\n"
	p.Files["ident"] = "$Id$ $Format:%H$\n"
	p.Files["hidden"] = "there all the same\n"
	p.Files["big.bin"] = "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0", 64) + "\nsize 1000000000\n"
	p.Files["PKGBUILD"] += "touch " + touched + "\n"
	tree := mustFetch(t, fetcher(t), aurRef(aurtest.New(t, p), "foo"))
	for name, want := range p.Files {
		if got, err := os.ReadFile(filepath.Join(tree.Dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("a command from the repository was run")
	}
}

func TestHostileSizes(t *testing.T) {
	noise := make([]byte, 4<<20)
	rand.Read(noise)
	p := aurtest.Simple("foo", "1-1")
	p.Files["noise"] = string(noise)
	p.Files["zeros"] = strings.Repeat("\x00", 8<<20) // next to nothing in a pack
	for i := range 50 {
		p.Files[fmt.Sprintf("many/%02d", i)] = ""
	}
	s := aurtest.New(t, p)
	for name, lim := range map[string]Limits{
		"repository": {Repo: 1 << 20},
		"tree":       {Tree: 10 << 20},
		"file":       {File: 7 << 20},
		"files":      {Files: 40},
		"paths":      {PathLen: 5},
	} {
		f := fetcher(t)
		f.Limits = lim
		refuse(t, f, aurRef(s, "foo"), ErrTooLarge)
		if _, err := os.Stat(filepath.Join(f.Cache, "foo")); (err != nil) != (name == "repository") {
			t.Errorf("%s: the repository was kept, or not: %v", name, err)
		}
	}
	mustFetch(t, fetcher(t), aurRef(s, "foo"))
}

// Ten trees of ten entries each are ten thousand million files.
func TestHostileTreeBomb(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	entry := "100644 blob " + run(t, s, "foo", "x", "hash-object", "-w", "--stdin")
	for range 10 {
		var tree strings.Builder
		for i := range 10 {
			fmt.Fprintf(&tree, "%s\t%d\n", entry, i)
		}
		entry = "040000 tree " + run(t, s, "foo", tree.String(), "mktree")
	}
	point(t, s, "foo", strings.Fields(entry)[2])
	refuse(t, fetcher(t), aurRef(s, "foo"), ErrTooLarge)
}

func TestHostileServerHangs(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	for _, at := range []string{"GET", "POST"} {
		stuck := hang(func() {})
		s.Before(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == at && stuck(w, r) })
		f := fetcher(t)
		f.Limits.Timeout = 700 * time.Millisecond
		if err := refuse(t, f, aurRef(s, "foo"), ErrUnavailable); !strings.Contains(err.Error(), "took longer than 700ms") {
			t.Error(err)
		}
	}
}

// A pack that never ends is cut off while it arrives.
func TestHostileEndlessPack(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	ended := make(chan int64, 1)
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte("command=fetch")) {
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		ended <- endlessPack(w, bytes.Contains(body, []byte("deepen ")))
		return true
	})
	f := fetcher(t)
	f.Limits = Limits{Repo: 3 << 20, Timeout: time.Minute}
	refuse(t, f, aurRef(s, "foo"), ErrTooLarge)
	if n := <-ended; n < 3<<20 {
		t.Errorf("cut off after %d bytes", n)
	}
}

// endlessPack answers a fetch with a pack of one object that says it has 2^50
// bytes, until nobody reads, and returns how many it has sent.
func endlessPack(w io.Writer, shallow bool) int64 {
	if shallow {
		io.WriteString(w, pkt("shallow-info\n")+"0001")
	}
	io.WriteString(w, pkt("packfile\n"))
	band := &sideband{w: w}
	band.Write(binary.BigEndian.AppendUint32(append([]byte("PACK"), 0, 0, 0, 2), 1))
	band.Write([]byte{0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20}) // blob
	z, _ := zlib.NewWriterLevel(band, zlib.NoCompression)
	noise := make([]byte, 32<<10)
	rand.Read(noise)
	for {
		if _, err := z.Write(noise); err != nil || band.n > 1<<30 {
			return band.n
		}
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// sideband writes pack data as a git server does.
type sideband struct {
	w io.Writer
	n int64
}

func (b *sideband) Write(p []byte) (int, error) {
	for len(p[:]) > 0 {
		part := p[:min(len(p), 60_000)]
		if _, err := io.WriteString(b.w, pkt("\x01"+string(part))); err != nil {
			return 0, err
		}
		b.n += int64(len(part))
		p = p[len(part):]
	}
	return int(b.n), nil
}

func TestHostileRedirect(t *testing.T) {
	s, elsewhere := aurtest.New(t, aurtest.Simple("foo", "1-1")), aurtest.New(t, aurtest.Simple("foo", "6-6"))
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	refuse(t, fetcher(t), aurRef(s, "foo"), ErrUnavailable)
	if n := len(elsewhere.Requests()); n != 0 {
		t.Errorf("%d requests went where the redirect led", n)
	}
}

func TestHostileServerText(t *testing.T) {
	s := aurtest.New(t)
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000"+pkt("ERR \x1b[2J\x07 fatal: \r\x00 pwned\n"))
		return true
	})
	refuse(t, fetcher(t), aurRef(s, "foo"), ErrUnavailable)
}

// git is never made to speak anything but what has been checked.
func TestHostileURLs(t *testing.T) {
	touched := filepath.Join(t.TempDir(), "touched")
	f := fetcher(t)
	f.SSH.Identity = "/nonexistent"
	for _, url := range []string{
		"--upload-pack=touch " + touched,
		"ext::sh -c touch% " + touched,
		"ssh://-oProxyCommand=touch%20" + touched + "/x",
		"http://127.0.0.1/x\n--upload-pack=touch " + touched,
	} {
		refuse(t, f, Ref{Kind: KindGit, URL: url}, ErrRefused)
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("a command from a URL was run")
	}
	// Even if one got that far, git itself would not.
	r := &repository{dir: filepath.Join(t.TempDir(), "r"), ref: Ref{URL: "ext::sh -c touch% " + touched}, lim: Limits{}.withDefaults(), log: t.Output()}
	_, err := r.fetch(t.Context())
	wantClass(t, err, ErrRefused)
	if _, err := os.Stat(touched); err == nil {
		t.Error("git ran a command from a URL")
	}
	if _, err := os.Stat(filepath.Join(f.Cache)); err == nil {
		entries, _ := fs.Glob(os.DirFS(f.Cache), "*")
		t.Errorf("left in the cache: %q", entries)
	}
}

package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"serene/internal/source/aurtest"
)

// fetcher fetches from loopback, with an empty cache.
func fetcher(t *testing.T) *Fetcher {
	return &Fetcher{Cache: filepath.Join(t.TempDir(), "sources")}
}

// fetch fetches into a new directory.
func fetch(t *testing.T, f *Fetcher, ref Ref) (*Tree, error) {
	t.Helper()
	tree, err := f.Fetch(t.Context(), ref, filepath.Join(t.TempDir(), "tree"), t.Output())
	if err != nil {
		return nil, err
	}
	return tree, nil
}

func mustFetch(t *testing.T, f *Fetcher, ref Ref) *Tree {
	t.Helper()
	tree, err := fetch(t, f, ref)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func aurRef(s *aurtest.Server, base string) Ref { return (&AUR{URL: s.URL}).Ref(base) }

// run runs git as a person would, on a repository of the server.
func run(t *testing.T, s *aurtest.Server, base, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"--git-dir=" + s.Repository(base)}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@example.org", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.org")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

func TestFetch(t *testing.T) {
	p := aurtest.Simple("foo", "1:2-3")
	p.LastModified = 1_600_000_000
	p.Files["fix.patch"], p.Files["keys/run.sh"], p.Links = "patch\n", "#!/bin/sh\n", map[string]string{"keys/fix": "../fix.patch"}
	s := aurtest.New(t, p)
	tree := mustFetch(t, fetcher(t), aurRef(s, "foo"))
	want := []string{"-rw-r--r-- .SRCINFO", "-rw-r--r-- PKGBUILD", "-rw-r--r-- fix.patch", "drwxr-xr-x keys", "-> ../fix.patch keys/fix", "-rwxr-xr-x keys/run.sh"}
	if got := listing(t, tree.Dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	sum := sha256.Sum256([]byte(p.Files["PKGBUILD"]))
	if tree.PkgbuildSHA256 != hex.EncodeToString(sum[:]) || tree.Time.Unix() != 1_600_000_000 || tree.URL != s.URL+"/foo.git" {
		t.Errorf("%+v", tree)
	}
	if tip := run(t, s, "foo", "", "rev-parse", "master"); tree.Commit != tip {
		t.Errorf("commit %s, the tip is %s", tree.Commit, tip)
	}
	if tree.SrcInfo == nil || tree.SrcInfo.FullVersion() != "1:2-3" || tree.SrcInfoErr != nil {
		t.Errorf("%+v, %v", tree.SrcInfo, tree.SrcInfoErr)
	}
}

// A commit that was there once can be had when the tip has moved, from a cache
// that has never seen it too.
func TestFetchFollowsAndRemembers(t *testing.T) {
	s, f := aurtest.New(t, aurtest.Simple("foo", "1-1")), fetcher(t)
	first := mustFetch(t, f, aurRef(s, "foo"))
	if err := s.Add(aurtest.Simple("foo", "2-1")); err != nil {
		t.Fatal(err)
	}
	second := mustFetch(t, f, aurRef(s, "foo"))
	if second.Commit == first.Commit || second.SrcInfo.PkgVer != "2" {
		t.Errorf("did not follow: %+v", second)
	}
	pinned := aurRef(s, "foo")
	pinned.Commit = first.Commit
	for _, f := range []*Fetcher{f, fetcher(t)} {
		if again := mustFetch(t, f, pinned); again.Commit != first.Commit || again.SrcInfo.PkgVer != "1" {
			t.Errorf("%+v", again)
		}
	}
	pinned.Commit = strings.Repeat("0a", 20)
	_, err := fetch(t, f, pinned)
	wantClass(t, err, ErrNotFound)
}

// Servers may refuse to give a commit by name that is no tip.
func TestFetchCommitFromAReluctantServer(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	old := run(t, s, "foo", "", "rev-parse", "master")
	if err := s.Add(aurtest.Simple("foo", "2-1")); err != nil {
		t.Fatal(err)
	}
	run(t, s, "foo", "", "config", "protocol.version", "0")
	s.Before(withoutProtocolV2)
	ref := aurRef(s, "foo")
	ref.Commit = old
	if tree := mustFetch(t, fetcher(t), ref); tree.SrcInfo.PkgVer != "1" {
		t.Errorf("%+v", tree.SrcInfo)
	}
}

func TestFetchBranchAndPath(t *testing.T) {
	p := aurtest.Package{Base: "mono", Files: map[string]string{"README": "none here\n"}}
	for name, text := range aurtest.Simple("foo", "1-1").Files {
		p.Files["packages/foo/"+name] = text
	}
	s, f := aurtest.New(t, p), fetcher(t)
	run(t, s, "mono", "", "branch", "topic/one")
	ref := Ref{Kind: KindGit, URL: s.URL + "/mono.git", Branch: "topic/one", Path: "packages/foo"}
	if tree := mustFetch(t, f, ref); len(listing(t, tree.Dir)) != 2 || tree.SrcInfo == nil {
		t.Errorf("%+v", tree)
	}
	for _, c := range []struct {
		ref   Ref
		class error
	}{
		{Ref{Kind: KindGit, URL: ref.URL}, ErrNotFound}, // no PKGBUILD at the root
		{Ref{Kind: KindGit, URL: ref.URL, Branch: "none"}, ErrNotFound},
		{Ref{Kind: KindGit, URL: ref.URL, Path: "packages/none"}, ErrNotFound},
		{Ref{Kind: KindGit, URL: ref.URL, Path: "README"}, ErrNotFound},
		{Ref{Kind: KindGit, URL: s.URL + "/none.git"}, ErrNotFound},
		{Ref{Kind: KindGit, URL: ref.URL, Path: "packages/foo", Base: "bar"}, ErrRefused},
	} {
		_, err := fetch(t, f, c.ref)
		wantClass(t, err, c.class)
	}
}

func TestFetchSaysWhatIsWrongWithSrcInfo(t *testing.T) {
	with := func(base, pkgbuild, info string) aurtest.Package {
		p := aurtest.Package{Base: base, Files: map[string]string{"PKGBUILD": pkgbuild}}
		if info != "" {
			p.Files[".SRCINFO"] = strings.ReplaceAll(info, "BASE", base)
		}
		return p
	}
	good := "pkgbase = BASE\n\tpkgver = 1\n\tpkgrel = 1\n\tarch = any\n\tsource = URL\n\npkgname = BASE\n"
	s := aurtest.New(t,
		with("none", "pkgver=1\n", ""),
		with("stale", "pkgver=2\n", strings.Replace(good, "URL", "x", 1)),
		with("hostile", "pkgver=1\n", strings.Replace(good, "URL", "git+ext::sh -c id", 1)),
	)
	for base, want := range map[string]string{
		"none":    "there is no .SRCINFO",
		"stale":   ".SRCINFO is out of date: pkgver is 2 in the PKGBUILD",
		"hostile": ".SRCINFO line 5: source: git+ext::sh -c id has a name for something that is not fetched",
	} {
		tree := mustFetch(t, fetcher(t), aurRef(s, base))
		if tree.SrcInfo != nil || tree.SrcInfoErr == nil || tree.SrcInfoErr.Error() != want {
			t.Errorf("%s: %+v, %v", base, tree.SrcInfo, tree.SrcInfoErr)
		}
	}
}

// Nothing of this machine's configuration, and nothing of its environment,
// reaches git.
func TestFetchIgnoresTheEnvironment(t *testing.T) {
	evil := t.TempDir()
	touched := filepath.Join(evil, "touched")
	hook := filepath.Join(evil, "hook")
	for name, text := range map[string]string{
		hook: "#!/bin/sh\ntouch " + touched + "\n",
		filepath.Join(evil, ".gitconfig"): "[core]\n\thooksPath = " + evil + "\n\tfsmonitor = " + hook +
			"\n[url \"file:///nonexistent/\"]\n\tinsteadOf = http://\n[credential]\n\thelper = " + hook + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(hook, filepath.Join(evil, "reference-transaction")); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": evil, "XDG_CONFIG_HOME": evil, "GIT_DIR": evil, "GIT_SSH_COMMAND": hook, "GIT_EXTERNAL_DIFF": hook, "GIT_PROXY_COMMAND": hook, "GIT_ASKPASS": hook,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": evil, "GIT_CONFIG_GLOBAL": filepath.Join(evil, ".gitconfig"),
		"GIT_TEMPLATE_DIR": evil, "GIT_OBJECT_DIRECTORY": evil,
	} {
		t.Setenv(name, value)
	}
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	mustFetch(t, fetcher(t), aurRef(s, "foo"))
	if _, err := os.Stat(touched); err == nil {
		t.Error("a program named by the environment was run")
	}
}

// What a crash left in the cache costs another fetch, not the build.
func TestFetchHealsItsCache(t *testing.T) {
	s, f := aurtest.New(t, aurtest.Simple("foo", "1-1")), fetcher(t)
	repo := filepath.Join(f.Cache, "foo")
	breakages := map[string]func() error{
		"lock":   func() error { return os.WriteFile(filepath.Join(repo, "shallow.lock"), nil, 0o644) },
		"empty":  func() error { return errors.Join(os.RemoveAll(repo), os.Mkdir(repo, 0o755)) },
		"head":   func() error { return os.WriteFile(filepath.Join(repo, "HEAD"), []byte("garbage"), 0o644) },
		"config": func() error { return os.WriteFile(filepath.Join(repo, "config"), []byte("[garbage"), 0o644) },
		"packs":  func() error { return os.RemoveAll(filepath.Join(repo, "objects", "pack")) },
	}
	for _, name := range slices.Sorted(keys(breakages)) {
		mustFetch(t, f, aurRef(s, "foo"))
		if err := breakages[name](); err != nil {
			t.Fatal(err)
		}
		if err := s.Add(aurtest.Simple("foo", "1-1", "depends = "+name)); err != nil {
			t.Fatal(err)
		}
		if tree := mustFetch(t, f, aurRef(s, "foo")); !slices.Contains(tree.SrcInfo.BuildDepends("any"), name) {
			t.Errorf("%s: %+v", name, tree.SrcInfo)
		}
	}
}

func keys[M ~map[K]V, K comparable, V any](m M) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Several builds may want the same sources at once.
func TestFetchAtOnce(t *testing.T) {
	s, f := aurtest.New(t, aurtest.Simple("foo", "1-1")), fetcher(t)
	base := t.TempDir()
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			if _, err := f.Fetch(t.Context(), aurRef(s, "foo"), filepath.Join(base, fmt.Sprint(i)), io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestFetchNeverWritesIntoWhatIsThere(t *testing.T) {
	s, dir := aurtest.New(t, aurtest.Simple("foo", "1-1")), t.TempDir()
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := fetcher(t).Fetch(t.Context(), aurRef(s, "foo"), dir, io.Discard); err == nil {
		t.Error("fetched into a directory that exists")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	ctx, cancel := context.WithCancel(t.Context())
	s.Before(hang(cancel))
	_, err := fetcher(t).Fetch(ctx, aurRef(s, "foo"), filepath.Join(t.TempDir(), "tree"), io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// git over ssh: the real git, and in place of ssh a script that notes how it was
// called and runs the other end here. The real ssh must understand the same line.
func TestFetchOverSSH(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	bin := t.TempDir()
	note := filepath.Join(bin, "note")
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + note + "\nfor last; do :; done\nexec sh -c \"$last\"\n"
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	real, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	f := fetcher(t)
	ref := Ref{Kind: KindGit, URL: "ssh://git@example.org:2222" + s.Repository("foo")}
	_, err = fetch(t, f, ref)
	wantClass(t, err, ErrRefused) // without a key

	f.SSH = SSH{Identity: "/a b/it's", KnownHosts: "/known hosts"}
	mustFetch(t, f, ref)
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	out, err := exec.Command(real, append([]string{"-G"}, args[:len(args)-1]...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	for _, line := range []string{"user git", "hostname example.org", "port 2222", "identityfile /a b/it's", "userknownhostsfile \"/known hosts\"", "stricthostkeychecking true", "batchmode yes", "identityagent none"} {
		if !strings.Contains(string(out), line+"\n") && !strings.Contains(string(out), strings.ReplaceAll(line, `"`, "")+"\n") {
			t.Errorf("ssh does not see %q in\n%s", line, out)
		}
	}
}

// A host is reached over plain http if it is listed. Names below localhost are
// this machine to curl, and nothing special to the rule.
func TestFetchOverPlainHTTP(t *testing.T) {
	s, f := aurtest.New(t, aurtest.Simple("foo", "1-1")), fetcher(t)
	host := strings.Replace(strings.TrimPrefix(s.URL, "http://"), "127.0.0.1", "git.localhost", 1)
	ref := Ref{Kind: KindGit, URL: "http://" + host + "/foo.git"}
	_, err := fetch(t, f, ref)
	wantClass(t, err, ErrRefused)
	f.Allow.HTTP = []string{host}
	if tree := mustFetch(t, f, ref); tree.URL != ref.URL {
		t.Errorf("%+v", tree)
	}
}

func TestFetchFromNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String() + "/foo.git"
	l.Close()
	_, err = fetch(t, fetcher(t), Ref{Kind: KindGit, URL: url})
	wantClass(t, err, ErrUnavailable)
}

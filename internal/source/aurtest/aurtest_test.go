package aurtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"serene/internal/source/aurtest"
)

func get(t *testing.T, url string) map[string]any {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: %v: %s", url, err, b)
	}
	return m
}

// Every form in which an AUR is asked gives the same.
func TestRPC(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1:2-3", "depends = bar"))
	for _, path := range []string{"/rpc/v5/info?arg[]=foo", "/rpc/v5/info/foo", "/rpc/?v=5&type=info&arg[]=foo", "/rpc?v=5&type=multiinfo&arg=foo"} {
		m := get(t, s.URL+path)
		if m["type"] != "multiinfo" || m["resultcount"] != 1.0 || m["results"].([]any)[0].(map[string]any)["Version"] != "1:2-3" {
			t.Errorf("%s: %v", path, m)
		}
	}
	for path, want := range map[string]string{
		"/rpc/v5/search/fo":        "search",
		"/rpc/v5/search/f":         "error",
		"/rpc/v5/info":             "error",
		"/rpc/v5/nonsense/x":       "error",
		"/rpc/?v=4&type=info&arg=": "error",
	} {
		if m := get(t, s.URL+path); m["type"] != want {
			t.Errorf("%s: %v", path, m)
		}
	}
	resp, err := http.PostForm(s.URL+"/rpc/v5/info", url.Values{"arg[]": {"foo"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// A real git clones, and follows.
func TestGit(t *testing.T) {
	s := aurtest.New(t)
	packages, err := aurtest.FromFS(fstest.MapFS{
		"foo/PKGBUILD":   {Data: []byte("one\n")},
		"foo/sub/run.sh": {Data: []byte("#!/bin/sh\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add(packages...); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "foo")
	for _, args := range [][]string{{"clone", "-q", s.URL + "/foo.git", dir}, {"-C", dir, "pull", "-q"}} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "PKGBUILD"))
		if err != nil || string(b) != packages[0].Files["PKGBUILD"] {
			t.Errorf("%q, %v", b, err)
		}
		packages[0].Files["PKGBUILD"] = "two\n"
		if err := s.Add(packages...); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "sub/run.sh")); err != nil || st.Mode()&0o100 == 0 {
		t.Error(st, err)
	}
}

// What Simple says of itself is what makepkg says of it.
func TestSimpleIsWhatMakepkgPrints(t *testing.T) {
	p := aurtest.Simple("foo", "1:2-3", "depends = bar>=1", "makedepends = make", "provides = fu=2", "conflicts = fu")
	printed, err := aurtest.PrintSrcInfo(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if lines(printed) != lines(p.Files[".SRCINFO"]) {
		t.Errorf("got\n%s\nwant\n%s", p.Files[".SRCINFO"], printed)
	}
}

// lines sorts, as makepkg has an order of its own.
func lines(s string) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	for i := range all {
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return strings.Join(all, "\n")
}

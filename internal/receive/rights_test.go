package receive

import (
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

func mustRights(t testing.TB, command string) Rights {
	t.Helper()
	r, err := ParseRights(command)
	if err != nil {
		t.Fatalf("ParseRights(%s): %v", command, err)
	}
	return r
}

func verbNamed(t *testing.T, name string) *verb {
	t.Helper()
	for _, v := range verbs() {
		if v.name == name {
			return &v
		}
	}
	t.Fatalf("no verb %s", name)
	return nil
}

func TestParseRightsRefuses(t *testing.T) {
	for command, want := range map[string]string{
		"":                                                  "not serene-receive",
		"/bin/sh":                                           "not serene-receive",
		"serene-receive2 --allow all":                       "not serene-receive",
		"serene-receive --allow 'x":                         "pair",
		"serene-receive -a push":                            "unknown flag",
		"serene-receive --allow":                            "--allow needs a value",
		"serene-receive --allow ''":                         "--allow needs a value",
		"serene-receive --allow=":                           "--allow needs a value",
		"serene-receive --allow push,":                      "empty item",
		"serene-receive --allow ,push":                      "empty item",
		"serene-receive --allow push,,pull":                 "empty item",
		"serene-receive --allow push,fly":                   "no such verb",
		"serene-receive --allow PUSH":                       "no such verb",
		"serene-receive --allow 'push, pull'":               "no such verb",
		"serene-receive --allow push pull":                  "unexpected word",
		"serene-receive --allow push; rm -rf /":             "unknown flag",
		"serene-receive --allow push --config /etc/x":       "unknown flag",
		"serene-receive --allow push --state /tmp":          "unknown flag",
		"serene-receive --repo ../x":                        "--repo",
		"serene-receive --repo ''":                          "--repo needs a value",
		"serene-receive --arch any":                         "--arch",
		"serene-receive --package '[a'":                     "--package",
		"serene-receive --package 'a,'":                     "empty item",
		"serene-receive --max-size lots":                    "--max-size",
		"serene-receive --max-size 0":                       "--max-size",
		"serene-receive --max-size 1 --max-size 2":          "twice",
		"serene-receive --rate 60":                          "--rate",
		"serene-receive --rate 0/h":                         "--rate",
		"serene-receive --rate 1/w":                         "--rate",
		"serene-receive --rate -1/h":                        "--rate",
		"serene-receive --rate 1.5/h":                       "--rate",
		"serene-receive --rate 99999999999999999999/h":      "--rate",
		"serene-receive --rate 1/h --rate 2/h":              "twice",
		"env A=b serene-receive --allow push":               "not serene-receive",
		"serene-receive -- --allow push":                    "unexpected word",
		"serene-receive --allow push --repo a --help":       "unknown flag",
		"serene-receive --allow push --max-size=1MiB extra": "unexpected word",
	} {
		r, err := ParseRights(command)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRights(%s): %v; want %q in it", command, err, want)
		}
		if r.allow(access{verb: verbNamed(t, "push")}) {
			t.Errorf("ParseRights(%s): rights with an error", command)
		}
	}
}

func TestParseRights(t *testing.T) {
	r := mustRights(t, `/usr/bin/serene-receive --allow push,pull --allow=list --repo testing --package 'linux-*' --arch x86_64 --max-size 500MiB --rate 60/h`)
	want := "this key has --allow push,pull,list --repo testing --package linux-* --arch x86_64 --max-size 500MiB --rate 60/h"
	if got := (Caller{Rights: r}).has(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (Caller{Rights: mustRights(t, "serene-receive")}).has(); got != "this key has all rights" {
		t.Errorf("without flags: %s", got)
	}
}

// TestGroups holds the verbs of each group against the manual's words.
func TestGroups(t *testing.T) {
	for group, want := range map[string]string{
		"read":       "have pull list info files search history hello key setup status doctor help completion jobs log explain",
		"push":       "push hello help",
		"build":      "hello help build jobs log cancel retry explain",
		"work":       "push have pull hello key help",
		"all":        "push have pull list info files search remove publish drop promote history rollback hold unhold hello key setup status gc doctor resign help keys revoke completion build jobs log cancel retry explain",
		"remove":     "remove hello help",
		"read,push":  "push have pull list info files search history hello key setup status doctor help completion jobs log explain",
		"push,all":   "push have pull list info files search remove publish drop promote history rollback hold unhold hello key setup status gc doctor resign help keys revoke completion build jobs log cancel retry explain",
		"build,pull": "pull hello help build jobs log cancel retry explain",
	} {
		r := mustRights(t, "serene-receive --allow "+group)
		var got []string
		for _, v := range verbs() {
			if r.allow(access{verb: &v}) {
				got = append(got, v.name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", group, got, want)
		}
	}
}

func TestAllow(t *testing.T) {
	push := verbNamed(t, "push")
	r := mustRights(t, "serene-receive --allow push --repo testing --package 'linux-*,foo' --arch x86_64")
	for _, tt := range []struct {
		want bool
		a    access
	}{
		{true, access{repo: "testing", arch: "x86_64", base: "linux-zen", name: "linux-zen-headers"}},
		{true, access{repo: "testing-debug", arch: "x86_64", base: "foo", name: "foo"}},
		{false, access{repo: "serene", arch: "x86_64", base: "foo", name: "foo"}},
		{false, access{repo: "serene-debug"}},
		{false, access{repo: "testing", arch: "aarch64"}},
		// A base that is allowed must not carry a name that is not, nor the
		// other way about.
		{false, access{base: "linux-zen", name: "glibc"}},
		{false, access{base: "glibc", name: "linux-zen"}},
		{false, access{name: "foo-debug"}},
	} {
		tt.a.verb = push
		if got := r.allow(tt.a); got != tt.want {
			t.Errorf("allow(%+v) = %v", tt.a, got)
		}
	}
	if (Rights{}).allow(access{verb: push}) {
		t.Error("the zero Rights allow something")
	}
	if r.allow(access{verb: verbNamed(t, "remove")}) {
		t.Error("a push key may remove")
	}
}

// TestVerbTable holds each verb's flags against its synopsis and its manual.
func TestVerbTable(t *testing.T) {
	for _, v := range verbs() {
		for name := range strings.FieldsSeq(v.flags) {
			flag := "--" + strings.TrimRight(name, "=+")
			if !strings.Contains(v.synopsis, flag) {
				t.Errorf("%s: %s is not in the synopsis", v.name, flag)
			}
			if !strings.Contains(v.manual(), "\n    "+flag) {
				t.Errorf("%s: %s is not in its manual", v.name, flag)
			}
		}
		for word := range strings.FieldsSeq(v.synopsis) {
			flag, ok := strings.CutPrefix(strings.Trim(word, "[]"), "--")
			if ok && kindOf(v.flags, flag) == unknownFlag {
				t.Errorf("%s: --%s is in the synopsis only", v.name, flag)
			}
		}
	}
}

// A key for some packages cannot have another one replaced on the clients.
func TestRightsReplaces(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("q1", "1-1", alpmtest.Info("replaces", "glibc"))
	r := w.as("--allow push --package q*", string(data), "push", file)
	if r.code != exitDenied || !strings.Contains(r.err, "glibc, which q1 replaces") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	w.must(w.do(string(data), "push", file))
}

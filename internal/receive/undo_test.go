package receive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUndo(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	w.push("foo", "2-1")
	w.push("bar", "1-1")
	w.must(w.do("", "rollback", "foo", "1-1", "--hold", "2 eats data"))
	if got := w.must(w.do("", "list")).out; !strings.Contains(got, "foo 1-1\n") {
		t.Errorf("list: %s", got)
	}
	w.want(w.do("", "unhold", "bar"), exitNotFound, "unhold bar: bar is not held in serene")
	w.must(w.do("", "unhold", "foo"))
	w.must(w.do("", "hold", "foo", "wait", "for", "upstream"))
	w.want(w.do("", "hold", "foo"), exitUsage, "hold: a hold needs NAME and WHY; usage: hold NAME WHY [--repo R] [--no-wait] [--json]")
	history := w.must(w.do("", "history", "foo")).out
	if n := strings.Count(history, "\n"); n != 3 || !strings.Contains(history, "rollback by ci@example +x86_64/foo 1-1") {
		t.Errorf("history of foo: %s", history)
	}
	if all := w.must(w.do("", "history")).out; !strings.Contains(all, "held foo: wait for upstream") || !strings.Contains(all, "+x86_64/bar 1-1") {
		t.Errorf("history: %s", all)
	}
	w.must(w.do("", "rollback", "2"))
	if got := w.must(w.do("", "list")).out; got != "serene/x86_64 foo 1-1\n" {
		t.Errorf("list after rollback 2: %s", got)
	}
	w.want(w.do("", "rollback", "77"), exitNotFound, "rollback 77: generation 77 of serene/x86_64 is not kept")
}

// A key for some packages undoes those, sees those, and no others.
func TestUndoRights(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	w.push("bar", "1-1")
	const rights = "--allow all --package foo"
	if got := w.must(w.as(rights, "", "history")).out; strings.Contains(got, "bar") || !strings.Contains(got, "foo") {
		t.Errorf("history: %s", got)
	}
	for _, argv := range [][]string{
		{"rollback", "2"}, {"rollback", "bar", "1-1"}, {"hold", "bar", "why"}, {"unhold", "bar"}, {"remove", "bar"}, {"doctor"},
		{"promote", "bar", "--from", "serene-debug", "--to", "serene"},
	} {
		if r := w.as(rights, "", argv...); r.code != exitDenied {
			t.Errorf("%q: exit code %d: %s", argv, r.code, r.err)
		}
	}
}

// What concerns everything is for keys without a limit, of architecture as of
// any other; they are told why not, and are not pointed to what they may not do.
func TestWholeStateRights(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	const arm = "--allow all --arch aarch64"
	for rights, has := range map[string]string{"--package foo": " --package foo", "--repo serene": " --repo serene", "--arch aarch64": " --arch aarch64"} {
		r := w.as("--allow read "+rights, "", "doctor")
		w.want(r, exitDenied, "doctor: not allowed: it looks at every repository, package and architecture; this key has --allow read"+has)
	}
	w.want(w.as(arm, "", "resign"), exitDenied, "resign: not allowed: it signs every repository, package and architecture; this key has --arch aarch64")
	w.want(w.as(arm, "", "rollback", "1"), exitDenied, "rollback 1: not allowed to change all of serene: this key has --arch aarch64")

	if err := os.Remove(filepath.Join(w.state, "repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst.sig")); err != nil {
		t.Fatal(err)
	}
	for rights, says := range map[string]string{
		"--allow read": "doctor: problems: 1, 1 of which --repair mends, by a key for all verbs",
		"--allow all":  "doctor: problems: 1, 1 of which --repair mends",
	} {
		if r := w.as(rights, "", "doctor"); r.code != exitFailed || r.err != says+"\n" {
			t.Errorf("exit code %d: %swant %s", r.code, r.err, says)
		}
	}
	w.must(w.do("", "doctor", "--repair"))
	if err := os.Remove(filepath.Join(w.state, "repos/serene/pool/foo-1-1-x86_64.pkg.tar.zst")); err != nil {
		t.Fatal(err)
	}
	if r := w.do("", "doctor"); r.code != exitFailed || r.err != "doctor: problems: 1, none of which doctor can mend\n" {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

func TestUpkeep(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	if got := w.must(w.do("", "gc", "--dry-run")); got.out != "" {
		t.Errorf("gc would remove %s", got.out)
	}
	w.must(w.do("", "gc"))
	if got := w.must(w.do("", "doctor")); got.out != "" {
		t.Errorf("doctor: %s", got.out)
	}
	w.must(w.do("", "doctor", "--repair"))
}

// The steps of replacing the signing key, and what each shows.
func TestResign(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	trusted := func() int {
		_, rest, _ := strings.Cut(w.must(w.do("", "setup")).out, "\nkeys='")
		keys, _, _ := strings.Cut(rest, "'")
		return len(strings.Fields(keys))
	}
	if n := trusted(); n != 1 {
		t.Errorf("setup trusts %d keys", n)
	}
	announced := w.must(w.do("", "resign", "--announce")).out
	if !strings.HasPrefix(announced, "announced ") {
		t.Errorf("resign --announce: %s", announced)
	}
	if n := trusted(); n != 2 {
		t.Errorf("setup trusts %d keys", n)
	}
	next := strings.Trim(strings.Fields(announced)[1], ";")
	if got := w.must(w.do("", "resign", "--packages")).out; got != "signed 12 databases and 1 packages with "+next+"\n" {
		t.Errorf("resign: %s", got)
	}
	if got := w.must(w.do("", "doctor")).out; got != "" {
		t.Errorf("doctor: %s", got)
	}
	w.want(w.do("", "resign", "--announce", "--packages"), exitUsage, "resign: --announce signs nothing; usage: resign [--announce] [--packages] [--no-wait] [--json]")
	if r := w.as("--allow read,push", "", "resign"); r.code != exitDenied {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if r := w.as("--allow all --package foo", "", "resign"); r.code != exitDenied {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

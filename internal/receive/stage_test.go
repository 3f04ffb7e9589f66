package receive

import (
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

func TestStage(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	out := w.must(w.do(string(data), "push", file, "--stage")).out
	_, rest, ok := strings.Cut(out, "/stage/")
	if !ok {
		t.Fatalf("push --stage: %s", out)
	}
	token, _, _ := strings.Cut(rest, "/")
	if got := w.must(w.do("", "list")).out; got != "" {
		t.Errorf("published: %s", got)
	}
	if r := w.as("--allow all --package bar", "", "publish", token); r.code != exitDenied {
		t.Errorf("another's key: exit code %d: %s", r.code, r.err)
	}
	w.must(w.do("", "publish", token))
	if got := w.must(w.do("", "list")).out; got != "serene/x86_64 foo 1-1\n" {
		t.Errorf("list: %s", got)
	}
	w.want(w.do("", "drop", token), exitNotFound, "drop "+token+": no staged set "+token)
}

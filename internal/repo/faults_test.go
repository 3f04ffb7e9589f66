package repo

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The fault harness runs one push, from upload to outcome, in a process of its
// own under strace, and fails or kills it at every call that changes the file
// system, one run a call. Then it starts again on what is left, and checks what
// clients and the journal were promised. FAULTS=full visits every call; else every
// ninth.
//
// The child works on one thread, because strace counts calls by thread.

const faultChild = "SERENE_FAULT_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(faultChild); dir != "" {
		runtime.LockOSThread()
		os.Exit(pushInChild(dir))
	}
	os.Exit(m.Run())
}

// pushInChild replaces foo 1-1 by 1-2 and removes bar, and prints the outcome
// once it has one.
func pushInChild(dir string) int {
	store, err := Open(dir, []Spec{{Name: "serene", Arches: []string{"x86_64"}}}, Options{})
	if err != nil {
		return childFailed(err)
	}
	signer, _, err := LoadOrCreateSigner(filepath.Join(dir, "keys", "signing.asc"), nil, "")
	if err != nil {
		return childFailed(err)
	}
	w, err := OpenWriter(store, signer, slog.New(slog.DiscardHandler))
	if err != nil {
		return childFailed(err)
	}
	tx, err := store.Begin(Actor{Verb: "push"}, TxOptions{})
	if err != nil {
		return childFailed(err)
	}
	defer tx.Abort()
	next := build("foo", "1-2")
	if _, err := tx.Add(context.Background(), next.name, -1, bytes.NewReader(next.data)); err != nil {
		return childFailed(err)
	}
	if err := tx.Remove("bar"); err != nil {
		return childFailed(err)
	}
	id, err := tx.Submit()
	if err != nil {
		return childFailed(err)
	}
	fmt.Println("accepted", id)
	for range 2 { // as serve does: what failed is tried again
		if _, err = w.Refresh(context.Background()); err == nil {
			break
		}
	}
	if o, err := store.Outcome(id); err == nil && o.Error == "" {
		fmt.Println("acknowledged", id)
	}
	return 0
}

func childFailed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// changing are the system calls by which a process changes files.
var changing = []string{"openat", "write", "pwrite64", "fsync", "ftruncate", "renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "fchmod", "utimensat", "copy_file_range"}

// fault is one way for one call to go wrong.
type fault struct{ call, how string }

func (f fault) inject(n int) string { return fmt.Sprintf("inject=%s:%s:when=%d", f.call, f.how, n) }

func TestFaults(t *testing.T) {
	full := os.Getenv("FAULTS") == "full"
	base := faultBase(t)
	counts := countCalls(t, cloneDir(t, base))
	step, run := 1, 0
	if !full {
		step = 9
	}
	for _, call := range slices.Sorted(maps.Keys(counts)) {
		for _, how := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
			for n := 1; n <= counts[call]; n++ {
				if run++; run%step != 0 {
					continue
				}
				f := fault{call, how}
				t.Run(fmt.Sprintf("%s/%s/%d", call, how, n), func(t *testing.T) {
					dir := cloneDir(t, base)
					out := strace(t, dir, "-e", "trace="+call, "-e", f.inject(n))
					checkAfterFault(t, dir, out)
				})
			}
		}
	}
}

// faultBase is a repository with a past, ready to be copied.
func faultBase(t *testing.T) string {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"), build("bar", "1-1"), build("baz", "1-1"))
	r.w.Close()
	return r.dir
}

func cloneDir(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "state")
	if out, err := exec.Command("cp", "-a", dir, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// strace runs the child on dir and returns what it printed.
func strace(t *testing.T, dir string, args ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("strace", append(append([]string{"-f", "-o", dir + ".trace"}, args...), exe)...)
	cmd.Env = append(os.Environ(), faultChild+"="+dir, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String()
}

var traced = regexp.MustCompile(`^(\d+) +(\w+)\(`)

// countCalls runs the child whole and counts what its main thread does.
func countCalls(t *testing.T, dir string) map[string]int {
	t.Helper()
	out := strace(t, dir, "-e", "trace="+strings.Join(changing, ","))
	if !strings.Contains(out, "acknowledged") {
		t.Fatalf("the child failed without a fault: %s", out)
	}
	trace, err := os.ReadFile(dir + ".trace")
	if err != nil {
		t.Fatal(err)
	}
	counts, main := make(map[string]int), ""
	for line := range strings.Lines(string(trace)) {
		m := traced.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if main == "" {
			main = m[1]
		}
		if m[1] == main {
			counts[m[2]]++
		}
	}
	if counts["fsync"] < 10 || counts["renameat"]+counts["renameat2"] < 4 {
		t.Fatalf("the child's main thread did not do the work: %v", counts)
	}
	return counts
}

// checkAfterFault starts on what a fault left, twice, and checks that the
// change is there whole or not at all, and there when it was promised.
func checkAfterFault(t *testing.T, dir, out string) {
	t.Helper()
	r := &testRepo{t: t, dir: dir, specs: []Spec{{Name: "serene", Arches: []string{"x86_64"}}}}
	r.store, _ = Open(dir, r.specs, Options{})
	before, err := r.store.View("serene", "x86_64")
	if err != nil {
		t.Fatalf("what clients see: %v", err)
	}
	r.open()
	r.refresh()
	if err := r.store.SweepStaging(); err != nil {
		t.Error(err)
	}
	got := r.published("serene", "x86_64")
	was, is := []string{"bar 1-1", "baz 1-1", "foo 1-1"}, []string{"baz 1-1", "foo 1-2"}
	switch accepted := strings.Contains(out, "accepted"); {
	case slices.Equal(got, is):
	case slices.Equal(got, was) && !accepted:
	default:
		t.Errorf("published %q; the child said: %s", got, out)
	}
	after, err := r.store.View("serene", "x86_64")
	if err != nil || after.Gen < before.Gen {
		t.Errorf("generation %d after %d: %v", after.Gen, before.Gen, err)
	}
	problems, err := r.store.Doctor(t.Context())
	if len(problems) > 0 || err != nil {
		t.Errorf("doctor: %v, %v", problems, err)
	}
	wantEmpty(t, r.store.path("staging"))
	wantEmpty(t, r.store.path("inbox"))
	checkOutcome(t, r, out)
	r.open()
	if again := r.published("serene", "x86_64"); !slices.Equal(again, got) {
		t.Errorf("published %q, after another start %q", got, again)
	}
}

// checkOutcome makes sure that whoever was told "accepted" gets an answer, and
// that it is the one that was earned.
func checkOutcome(t *testing.T, r *testRepo, out string) {
	t.Helper()
	_, id, ok := strings.Cut(out, "accepted ")
	if !ok {
		return
	}
	id, _, _ = strings.Cut(id, "\n")
	o, err := r.store.Outcome(id)
	if err != nil || o.Error != "" || len(o.Receipts) != 2 {
		t.Errorf("outcome %+v, %v", o, err)
		return
	}
	if line := o.Receipts[0].String() + o.Receipts[1].String(); !strings.Contains(line, "removed") || !strings.Contains(line, "published") {
		t.Errorf("receipts %s", line)
	}
}

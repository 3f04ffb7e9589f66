package repo

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The fault harness runs one change, from upload to outcome, in a process of
// its own under strace, and fails or kills it at every call that changes the
// file system, one run a call. Then it starts again on what is left, and checks
// what clients and the journal were promised. FAULTS=full visits every call;
// else a few of a push, and fewer of other changes.
//
// The child works on one thread, because strace counts calls by thread.

const (
	faultChild    = "SERENE_FAULT_CHILD"
	faultScenario = "SERENE_FAULT_SCENARIO"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(faultChild); dir != "" {
		if err := child(dir, os.Getenv(faultScenario)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir, name string) error {
	if name == "memory" {
		return liveInChild(dir)
	}
	runtime.LockOSThread()
	return changeInChild(dir, name)
}

// liveInChild starts, is asked for what is published, refreshes a few times and
// says how much memory the process had at its peak.
func liveInChild(dir string) error {
	r, err := openChild(dir, []Spec{{Name: "serene", Arches: []string{"x86_64"}}})
	if err != nil {
		return err
	}
	r.w.warming.Wait()
	for i := range 5 {
		tx, err := r.store.Begin(Actor{}, TxOptions{})
		if err != nil {
			return err
		}
		p := build("added", fmt.Sprintf("%d-%d", os.Getpid(), i+1))
		if _, err := tx.Add(context.Background(), p.name, -1, bytes.NewReader(p.data)); err != nil {
			return err
		}
		if _, err := tx.Submit(); err != nil {
			return err
		}
		if _, err := r.w.Refresh(context.Background()); err != nil {
			return err
		}
		if _, err := r.store.View("serene", "x86_64"); err != nil {
			return err
		}
	}
	// Not getrusage(2): what that says begins with the parent's.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, kib, _ := strings.Cut(string(status), "VmHWM:")
	var peak int
	if _, err := fmt.Sscan(kib, &peak); err != nil {
		return err
	}
	fmt.Println("peak", peak>>10)
	return nil
}

func openChild(dir string, specs []Spec) (*testRepo, error) {
	r := &testRepo{dir: dir}
	var err error
	if r.store, err = Open(dir, specs, Options{}); err != nil {
		return nil, err
	}
	if r.signer, _, err = LoadOrCreateSigner(filepath.Join(dir, "keys", "signing.asc"), nil, ""); err != nil {
		return nil, err
	}
	r.w, err = OpenWriter(r.store, r.signer, slog.New(slog.DiscardHandler))
	return r, err
}

// changeInChild makes the change of a scenario, and says when it is accepted,
// and when it has an outcome. SIGTERM stops it as it stops the daemon: no
// refresh begins any more.
func changeInChild(dir, name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.name == name })
	sc := &scenarios[i]
	r, err := openChild(dir, sc.specs())
	if err != nil {
		return err
	}
	id, err := sc.submit(r.store, dir)
	if err != nil {
		return err
	}
	fmt.Println("accepted", id)
	for range 2 { // as serve does: what failed is tried again
		if _, err = r.w.Refresh(ctx); err == nil {
			break
		}
	}
	if o, err := r.store.Outcome(id); err == nil && o.Error == "" {
		fmt.Println("acknowledged", id)
	}
	return nil
}

// changing are the system calls by which a process changes files.
var changing = []string{"openat", "write", "pwrite64", "fsync", "ftruncate", "renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "fchmod", "utimensat", "copy_file_range"}

// fault is one way for one call to go wrong.
type fault struct{ call, how string }

func (f fault) inject(n int) string { return fmt.Sprintf("inject=%s:%s:when=%d", f.call, f.how, n) }

// faultKinds are the ways a call goes wrong.
var faultKinds = []string{"error=EIO", "error=ENOSPC", "signal=KILL", "signal=TERM"}

func TestFaults(t *testing.T) {
	for i := range scenarios {
		sc := &scenarios[i]
		step := 149
		switch {
		case os.Getenv("FAULTS") == "full":
			step = 1
		case sc.name == "push":
			step = 37
		}
		t.Run(sc.name, func(t *testing.T) { injectFaults(t, sc, step) })
	}
}

// injectFaults makes every step-th possible fault happen.
func injectFaults(t *testing.T, sc *scenario, step int) {
	base := sc.base(t)
	counts := countCalls(t, sc, cloneDir(t, base))
	run := 0
	for _, call := range slices.Sorted(maps.Keys(counts)) {
		for _, how := range faultKinds {
			for n := 1; n <= counts[call]; n++ {
				if run++; run%step != 0 {
					continue
				}
				f := fault{call, how}
				t.Run(fmt.Sprintf("%s/%s/%d", call, how, n), func(t *testing.T) {
					dir := cloneDir(t, base)
					out := strace(t, sc, dir, "-e", "trace="+call, "-e", f.inject(n))
					_, id, _ := strings.Cut(out, "accepted ")
					id, _, _ = strings.Cut(id, "\n")
					sc.check(t, dir, id)
					if t.Failed() {
						t.Log("the child said:", out)
					}
				})
			}
		}
	}
	t.Log(run/step, "of", run, "faults injected")
}

// strace runs the child on dir and returns what it printed.
func strace(t *testing.T, sc *scenario, dir string, args ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("strace", append(append([]string{"-f", "-o", dir + ".trace"}, args...), exe)...)
	cmd.Env = append(os.Environ(), faultChild+"="+dir, faultScenario+"="+sc.name, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String()
}

var traced = regexp.MustCompile(`^(\d+) +(\w+)\(`)

// countCalls runs the child whole and counts what its main thread does.
func countCalls(t *testing.T, sc *scenario, dir string) map[string]int {
	t.Helper()
	out := strace(t, sc, dir, "-e", "trace="+strings.Join(changing, ","))
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

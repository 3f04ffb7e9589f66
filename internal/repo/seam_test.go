package repo

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"serene/internal/durable"
)

// Every operation of package durable fails once, done and not done: the caller
// cannot know which. The daemon goes on in the same process, as after an error,
// or is started again. FAULTS=full tries all four of each; else one.
func TestSeamFaults(t *testing.T) {
	full := os.Getenv("FAULTS") == "full"
	for i := range scenarios {
		sc := &scenarios[i]
		t.Run(sc.name, func(t *testing.T) {
			base := sc.base(t)
			total := runSeam(t, sc, cloneDir(t, base), 0, durable.NoFault, false)
			if total < 10 {
				t.Fatalf("only %d operations", total)
			}
			for n := 1; n <= total; n++ {
				for i, f := range []durable.Fault{durable.Failed, durable.FailedPersisted} {
					for k, goOn := range []bool{true, false} {
						if !full && (2*i+k+n)%4 != 0 {
							continue
						}
						t.Run(fmt.Sprintf("%d/%d/%v", n, f, goOn), func(t *testing.T) {
							runSeam(t, sc, cloneDir(t, base), n, f, goOn)
						})
					}
				}
			}
		})
	}
}

// runSeam makes the change with the n-th operation failing as f says, none when
// n is 0, checks what becomes of it, and returns how many operations there were.
func runSeam(t *testing.T, sc *scenario, dir string, n int, f durable.Fault, goOn bool) int {
	t.Helper()
	r := &testRepo{t: t, dir: dir, specs: sc.specs()}
	r.open()
	var mu sync.Mutex // guards calls
	calls := 0
	durable.InjectFaults(t, func(durable.Op, string) durable.Fault {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == n {
			return f
		}
		return durable.NoFault
	})
	id, err := sc.submit(r.store, dir)
	accepted := err == nil
	_, failed := r.w.Refresh(context.Background())
	mu.Lock()
	total := calls
	mu.Unlock()
	if n == 0 && (!accepted || failed != nil) {
		t.Fatal(err, failed)
	}
	if failed != nil && goOn {
		r.refresh()
	}
	r.w.Close()
	if !accepted {
		id = ""
	}
	sc.check(t, dir, id)
	return total
}

package serve

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"serene/internal/daemon"
	"serene/internal/repo"
)

// figures are what the daemon counts about itself since it started.
type figures struct {
	refreshes atomic.Int64
	failures  atomic.Int64
	last      atomic.Int64 // nanoseconds the last refresh that did something took
	failing   atomic.Bool  // the last refresh failed
	requests  [6]atomic.Int64

	mu           sync.Mutex
	transactions map[string]int64 // guarded by mu: how many were answered, by class
}

// classDone stands for the class of a transaction that was done.
const classDone = "ok"

// settled notes the outcome of a transaction.
func (f *figures) settled(o *repo.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.transactions == nil {
		f.transactions = make(map[string]int64)
	}
	f.transactions[cmp.Or(o.Class, classDone)]++
}

// refreshed notes a refresh that answered n transactions. One that found the
// inbox empty is no event.
func (f *figures) refreshed(took time.Duration, n int, err error) {
	f.failing.Store(err != nil)
	switch {
	case err != nil:
		f.failures.Add(1)
	case n > 0:
		f.refreshes.Add(1)
		f.last.Store(int64(took))
	}
}

// answered notes an HTTP answer; a status of 0 is one that wrote nothing.
func (f *figures) answered(status int) {
	if class := status / 100; class < len(f.requests) {
		f.requests[class].Add(1)
	}
}

// catalogue lists what is published; *repo.Store is one.
type catalogue interface {
	Specs() []repo.Spec
	View(repo, arch string) (*repo.View, error)
}

// admin answers on the machine's own listener.
func admin(store catalogue, f *figures) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if f.failing.Load() {
			http.Error(w, "the last refresh failed; the log says why", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		io.WriteString(w, f.text()+repositories(store))
	})
	return mux
}

// text is the figures in Prometheus' text format.
func (f *figures) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# TYPE serene_build_info gauge\nserene_build_info{version=%q} 1\n", daemon.Version())
	fmt.Fprintf(&b, "# TYPE serene_refreshes_total counter\n")
	fmt.Fprintf(&b, "serene_refreshes_total{result=\"done\"} %d\n", f.refreshes.Load())
	fmt.Fprintf(&b, "serene_refreshes_total{result=\"failed\"} %d\n", f.failures.Load())
	b.WriteString(f.outcomes())
	fmt.Fprintf(&b, "# TYPE serene_last_refresh_seconds gauge\nserene_last_refresh_seconds %g\n", time.Duration(f.last.Load()).Seconds())
	fmt.Fprintf(&b, "# TYPE serene_http_requests_total counter\n")
	for class := 2; class < len(f.requests); class++ {
		fmt.Fprintf(&b, "serene_http_requests_total{class=\"%dxx\"} %d\n", class, f.requests[class].Load())
	}
	return b.String()
}

// outcomes is how many transactions were answered, by class. Every class is
// there from the start, or the first of its kind would be no increase.
func (f *figures) outcomes() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := "# TYPE serene_transactions_total counter\n"
	for _, class := range append([]string{classDone}, repo.Classes()...) {
		text += fmt.Sprintf("serene_transactions_total{class=%q} %d\n", class, f.transactions[class])
	}
	return text
}

// repositories is the size and generation of every database. One that cannot be
// read is left out, as a figure that is missing raises an alarm and a wrong one
// does not.
func repositories(store catalogue) string {
	var packages, gens strings.Builder
	for _, spec := range store.Specs() {
		for _, arch := range spec.Arches {
			v, err := store.View(spec.Name, arch)
			if err != nil {
				continue
			}
			fmt.Fprintf(&packages, "serene_packages{repo=%q,arch=%q} %d\n", spec.Name, arch, v.Len())
			fmt.Fprintf(&gens, "serene_generation{repo=%q,arch=%q} %d\n", spec.Name, arch, v.Gen)
		}
	}
	return "# TYPE serene_packages gauge\n" + packages.String() + "# TYPE serene_generation gauge\n" + gens.String()
}

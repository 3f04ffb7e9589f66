package serve

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAdmin(t *testing.T) {
	s := newShelf(t)
	f := &figures{}
	s.w.Answered = f.settled
	s.submit("foo", "2-1")
	s.publish("foo", "1-1") // a downgrade by now
	h := admin(s.store, f)
	if resp, body := ask(t, h, "GET", "/healthz"); resp.StatusCode != 200 || string(body) != "ok\n" {
		t.Errorf("healthz: %s %q", resp.Status, body)
	}
	f.refreshed(time.Second/4, 3, nil)
	f.refreshed(time.Second, 0, nil) // an empty inbox is no event
	f.refreshed(time.Second, 0, errors.New("disk full"))
	if resp, _ := ask(t, h, "GET", "/healthz"); resp.StatusCode != 503 {
		t.Errorf("healthz after a failure: %s", resp.Status)
	}
	f.answered(200)
	f.answered(206)
	f.answered(404)
	resp, body := ask(t, h, "GET", "/metrics")
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("metrics are %s", got)
	}
	for _, line := range []string{
		`serene_refreshes_total{result="done"} 1`,
		`serene_refreshes_total{result="failed"} 1`,
		`serene_transactions_total{class="ok"} 1`,
		`serene_transactions_total{class="conflict"} 1`,
		`serene_transactions_total{class="content"} 0`,
		`serene_last_refresh_seconds 0.25`,
		`serene_http_requests_total{class="2xx"} 2`,
		`serene_http_requests_total{class="4xx"} 1`,
		`serene_http_requests_total{class="5xx"} 0`,
		`serene_packages{repo="serene",arch="x86_64"} 1`,
		`serene_packages{repo="testing-debug",arch="x86_64"} 0`,
		`serene_generation{repo="serene",arch="x86_64"} 2`,
	} {
		if !strings.Contains("\n"+string(body), "\n"+line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, body)
		}
	}
	if resp, _ := ask(t, h, "POST", "/metrics"); resp.StatusCode != 405 {
		t.Errorf("POST: %s", resp.Status)
	}
	if resp, _ := ask(t, h, "GET", "/debug/pprof/"); resp.StatusCode != 404 {
		t.Errorf("another path: %s", resp.Status)
	}
}

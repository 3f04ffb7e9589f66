package upstream

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// databaseOf is a sync database of packages.
func databaseOf(t testing.TB, packages ...*alpm.Entry) []byte {
	t.Helper()
	var tar []byte
	for _, e := range packages {
		tar = alpm.AppendMembers(tar, e, nil)
	}
	return append(tar, alpm.EndOfArchive()...)
}

func entry(t testing.TB, name, version string, opts ...alpmtest.Option) *alpm.Entry {
	t.Helper()
	data, file := alpmtest.Package(name, version, opts...)
	p, err := alpm.ReadPackage(bytes.NewReader(data), file, alpm.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return p.Entry()
}

// mirror serves what content holds at every path that names x86_64.
type mirror struct {
	content  atomic.Pointer[[]byte]
	modified time.Time
	status   atomic.Int64
	asked    atomic.Int64 // answers with a body
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := m.status.Load(); s != 0 {
		w.WriteHeader(int(s))
		return
	}
	if !bytes.Contains([]byte(r.URL.Path), []byte("x86_64")) {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("If-Modified-Since") == "" {
		m.asked.Add(1)
	}
	http.ServeContent(w, r, "", m.modified, bytes.NewReader(*m.content.Load()))
}

func newMirror(t *testing.T, content []byte) (*mirror, string) {
	m := &mirror{modified: time.Unix(1700000000, 0)}
	m.content.Store(&content)
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return m, srv.URL + "/core/os/$arch/core.db"
}

func options(dir string, urls ...string) Options {
	return Options{Dir: dir, URLs: urls, Arches: []string{"x86_64"}, Every: time.Hour, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, opt Options) *Set {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func satisfies(t *testing.T, s *Set, text string) bool {
	t.Helper()
	dep, err := alpm.ParseDep(text)
	if err != nil {
		t.Fatal(err)
	}
	return s.Satisfies("x86_64", dep)
}

func TestSet(t *testing.T) {
	glibc := entry(t, "glibc", "2.39-1", alpmtest.Info("provides", "libc.so=6-64"))
	m, url := newMirror(t, databaseOf(t, glibc))
	dir := filepath.Join(t.TempDir(), "upstream")
	s := open(t, options(dir, url))
	if s.Known("x86_64") || s.Has("x86_64", "glibc") {
		t.Error("known before it was fetched")
	}
	if !s.refresh(t.Context()) {
		t.Fatal("not fetched")
	}
	for dep, want := range map[string]bool{"glibc": true, "glibc>=2.39": true, "glibc>2.39": false, "libc.so=6-64": true, "libc.so": true, "libc.so=7-64": false, "none": false} {
		if got := satisfies(t, s, dep); got != want {
			t.Errorf("%s: %v", dep, got)
		}
	}
	if !s.Known("x86_64") || s.Known("aarch64") || !s.Has("x86_64", "glibc") || s.Has("x86_64", "libc.so") {
		t.Error("what is known is wrong")
	}
	again := open(t, options(dir, url)) // from the copy
	if !again.Known("x86_64") {
		t.Error("the copy is not read")
	}
	if !again.refresh(t.Context()) || m.asked.Load() != 1 {
		t.Errorf("%d answers with a body", m.asked.Load())
	}
	status, err := ReadStatus(dir)
	if err != nil || len(status) != 1 || status[0].Packages != 1 || !status[0].Modified.Equal(m.modified) {
		t.Errorf("status %+v, %v", status, err)
	}
	open(t, options(dir))
	if status, err := ReadStatus(dir); len(status) != 0 || err != nil {
		t.Errorf("status without upstream: %+v, %v", status, err)
	}
}

// What is not a database, or no answer, leaves what was there before.
func TestBadAnswers(t *testing.T) {
	good := databaseOf(t, entry(t, "glibc", "2.39-1"))
	m, url := newMirror(t, good)
	s := open(t, options(t.TempDir(), url))
	s.refresh(t.Context())
	m.modified = m.modified.Add(time.Hour)
	for name, content := range map[string][]byte{"page": []byte("<html>"), "cut": good[:len(good)-700], "huge": make([]byte, maxDatabase+2)} {
		m.content.Store(&content)
		if s.refresh(t.Context()) || !s.Has("x86_64", "glibc") {
			t.Errorf("%s: taken", name)
		}
	}
	m.status.Store(http.StatusInternalServerError)
	if s.refresh(t.Context()) || !s.Known("x86_64") {
		t.Error("an error is taken for an answer")
	}
	left, err := os.ReadDir(s.opt.Dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// One database of two is as good as none.
func TestKnownOnlyWhole(t *testing.T) {
	_, url := newMirror(t, databaseOf(t, entry(t, "glibc", "2.39-1")))
	bad, badURL := newMirror(t, nil)
	bad.status.Store(http.StatusNotFound)
	s := open(t, options(t.TempDir(), url, badURL))
	if s.refresh(t.Context()) || s.Known("x86_64") || satisfies(t, s, "glibc") {
		t.Error("half an upstream is known")
	}
}

type answer func(*http.Request) (*http.Response, error)

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func TestSchedule(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, options(dir, "http://upstream.test/$arch/core.db"))
		var times []time.Duration
		began := time.Now()
		s.client.Transport = answer(func(*http.Request) (*http.Response, error) {
			times = append(times, time.Since(began))
			status := http.StatusNotModified
			if len(times) == 1 {
				status = http.StatusBadGateway
			}
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		})
		go s.Run(t.Context())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if len(times) != 3 || times[0] != 0 || times[1] != retryAfter || times[2] != retryAfter+time.Hour {
			t.Errorf("asked at %v", times)
		}
	})
}

package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm/alpmtest"
	"serene/internal/repo"
)

// shelf is a state directory with a writer on it.
type shelf struct {
	t     testing.TB
	dir   string
	store *repo.Store
	w     *repo.Writer
}

// newShelf publishes nothing yet, in the repositories serene and testing.
func newShelf(t testing.TB) *shelf { return newShelfIn(t, t.TempDir()) }

func newShelfIn(t testing.TB, dir string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: dir}
	var err error
	s.store, err = repo.Open(s.dir, []repo.Spec{{Name: "serene", Arches: []string{"x86_64"}}, {Name: "testing", Arches: []string{"x86_64"}}}, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	signer, _, err := repo.LoadOrCreateSigner(filepath.Join(s.dir, "keys", "signing.asc"), nil, "test <test@localhost>")
	if err != nil {
		t.Fatal(err)
	}
	if s.w, err = repo.OpenWriter(s.store, signer, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.w.Close() })
	return s
}

// submit hands a package over and returns its bytes and file name.
func (s *shelf) submit(name, version string, opts ...alpmtest.Option) (data []byte, file string) {
	s.t.Helper()
	data, file = alpmtest.Package(name, version, opts...)
	tx, err := s.store.Begin(repo.Actor{Key: "SHA256:test", Verb: "push"}, repo.TxOptions{Repo: "serene"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer tx.Abort()
	if _, err := tx.Add(context.Background(), file, -1, bytes.NewReader(data)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := tx.Submit(); err != nil {
		s.t.Fatal(err)
	}
	return data, file
}

// publish is submit and refresh.
func (s *shelf) publish(name, version string, opts ...alpmtest.Option) (data []byte, file string) {
	s.t.Helper()
	data, file = s.submit(name, version, opts...)
	if _, err := s.w.Refresh(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return data, file
}

func (s *shelf) site() *site {
	return &site{store: s.store, gens: newGenCache(), log: slog.New(slog.DiscardHandler), figures: &figures{}}
}

// ask sends one request to a server made of h and returns the answer, whose
// body it has read. It follows no redirect.
func ask(t testing.TB, h http.Handler, method, path string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, err := http.NewRequest(method, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = path // sent as it is
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestRoutes(t *testing.T) {
	s := newShelf(t)
	odd, oddFile := s.publish("odd+na@me", "1:2.0+r3-1.1")
	s.publish("foo", "1-1")
	v, err := s.store.View("serene", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	escaped := strings.NewReplacer(":", "%3A", "+", "%2B", "@", "%40").Replace(oddFile)
	gen := fmt.Sprintf("/serene/x86_64/gen/%d/", v.Gen)
	const (
		bytesType = "application/octet-stream"
		sigType   = "application/pgp-signature"
	)
	site := s.site()
	for _, test := range []struct {
		path     string
		status   int
		cache    string
		kind     string
		location string
	}{
		{"/serene/x86_64/" + oddFile, 200, cacheForever, bytesType, ""},
		{"/serene/x86_64/" + escaped, 200, cacheForever, bytesType, ""},
		{"/x86_64/" + oddFile, 200, cacheForever, bytesType, ""},
		{"/serene/x86_64/" + oddFile + ".sig", 200, cacheForever, sigType, ""},
		{"/serene/x86_64/serene.db", 302, cacheNever, "", gen + "serene.db"},
		{"/serene/x86_64/serene.db.tar.zst", 302, cacheNever, "", gen + "serene.db"},
		{"/serene/x86_64/serene.files", 302, cacheNever, "", gen + "serene.files"},
		{"/serene/x86_64/serene.files.tar.zst", 302, cacheNever, "", gen + "serene.files"},
		{"/x86_64/serene.db", 302, cacheNever, "", strings.TrimPrefix(gen, "/serene") + "serene.db"},
		{"/serene/x86_64/serene.db.sig", 200, cacheNever, sigType, ""},
		{"/serene/x86_64/serene.db.tar.zst.sig", 200, cacheNever, sigType, ""},
		{"/serene/x86_64/serene.files.sig", 200, cacheNever, sigType, ""},
		{gen + "serene.db", 200, cacheForever, bytesType, ""},
		{gen + "serene.db.sig", 200, cacheForever, sigType, ""},
		{gen + "serene.files", 200, cacheForever, bytesType, ""},
		{gen + "serene.files.sig", 200, cacheForever, sigType, ""},
		{strings.TrimPrefix(gen, "/serene") + "serene.db", 200, cacheForever, bytesType, ""},
		{"/testing/x86_64/testing.db", 302, cacheNever, "", "/testing/x86_64/gen/1/testing.db"},
		{"/serene-debug/x86_64/serene-debug.db", 302, cacheNever, "", "/serene-debug/x86_64/gen/1/serene-debug.db"},
		{"/key.asc", 200, cacheNever, "application/pgp-keys", ""},
		{"/", 200, cacheNever, "text/plain; charset=utf-8", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := ask(t, site, method, test.path)
			h := resp.Header
			if resp.StatusCode != test.status || h.Get("Cache-Control") != test.cache || h.Get("Content-Type") != test.kind ||
				h.Get("Location") != test.location || h.Get("Content-Encoding") != "" {
				t.Errorf("%s %s: %s %v", method, test.path, resp.Status, h)
			}
			if method == "HEAD" && len(body) > 0 {
				t.Errorf("HEAD %s has a body", test.path)
			}
			if method == "GET" && strings.HasSuffix(test.path, ".zst") && test.status == 200 && !bytes.Equal(body, odd) {
				t.Errorf("GET %s: %d other bytes", test.path, len(body))
			}
		}
	}
}

func TestNotThere(t *testing.T) {
	s := newShelf(t)
	_, file := s.publish("foo", "1-1")
	site := s.site()
	for _, path := range []string{
		"/serene", "/serene/", "/serene/x86_64", "/serene/x86_64/", "/x86_64/", "/serene//x86_64/" + file,
		"/other/x86_64/" + file, "/serene/aarch64/" + file, "/testing/x86_64/" + file, "/serene/x86_64/bar-1-1-x86_64.pkg.tar.zst",
		"/serene/x86_64/testing.db", "/serene/x86_64/serene.db.sig.sig", "/serene/x86_64/serene.db.lck", "/serene/x86_64/current",
		"/serene/pool/" + file, "/serene/journal.jsonl", "/authorized_keys", "/keys/signing.asc", "/repos/serene/journal.jsonl",
		"/serene/x86_64/gen", "/serene/x86_64/gen/", "/serene/x86_64/gen/1", "/serene/x86_64/gen/1/", "/serene/x86_64/gen/99/serene.db",
		"/serene/x86_64/gen/0/serene.db", "/serene/x86_64/gen/01/serene.db", "/serene/x86_64/gen/+1/serene.db", "/serene/x86_64/gen/-1/serene.db",
		"/serene/x86_64/gen/99/" + file, "/serene/aarch64/gen/1/" + file, "/serene/x86_64/gen/99999999999999999999/serene.db",
		"/serene/x86_64/gen/1/bar-1-1-x86_64.pkg.tar.zst", "/serene/x86_64/gen/1/testing.db", "/stage/" + strings.Repeat("0", 32) + "/serene/x86_64/" + file,
		"/stage/../serene/x86_64/" + file, "/stage/x/serene/x86_64/serene.db", "/stage", "/stage/" + strings.Repeat("0", 32),
		"/serene/x86_64/../x86_64/" + file, "/serene/x86_64/./" + file, "/serene/x86_64/%2e%2e/x86_64/" + file,
		"/serene/x86_64/..%2f..%2f..%2fkeys%2fsigning.asc", "/..%2fkeys/signing.asc", "/serene/x86_64/" + file + "%00", "/.well-known/x",
		"/serene/x86_64/.hidden", "/serene/x86_64/" + file + "/", "/favicon.ico", "/serene/x86_64/" + strings.Repeat("a", 4000),
	} {
		resp, body := ask(t, site, "GET", path)
		if resp.StatusCode != 404 || resp.Header.Get("Cache-Control") != cacheNever || string(body) != "Not Found\n" {
			t.Errorf("GET %s: %s %v %q", path, resp.Status, resp.Header, body)
		}
	}
}

// TestTwoSlashes asks for a path that, repeated in a Location, would be
// another host.
func TestTwoSlashes(t *testing.T) {
	site := newShelf(t).site()
	w := httptest.NewRecorder()
	site.ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: "//serene/x86_64/serene.db"}})
	if w.Code != 404 {
		t.Errorf("%d, Location %q", w.Code, w.Header().Get("Location"))
	}
}

func TestMethods(t *testing.T) {
	site := newShelf(t).site()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
		resp, _ := ask(t, site, method, "/serene/x86_64/serene.db")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, Allow %q", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

func TestRange(t *testing.T) {
	s := newShelf(t)
	data, file := s.publish("foo", "1-1", alpmtest.Payload(300<<10))
	resp, body := ask(t, s.site(), "GET", "/serene/x86_64/"+file, "Range", "bytes=1000-")
	if resp.StatusCode != 206 || !bytes.Equal(body, data[1000:]) || resp.ContentLength != int64(len(data)-1000) {
		t.Errorf("%s, %d bytes of %d", resp.Status, len(body), len(data))
	}
	if resp, _ := ask(t, s.site(), "GET", "/serene/x86_64/"+file, "Range", "bytes="+strconv.Itoa(len(data))+"-"); resp.StatusCode != 416 {
		t.Errorf("a range past the end: %s", resp.Status)
	}
}

// TestGenerationTimes asks as pacman does: the files of a generation have one
// time, and what a client has of it is not sent again.
func TestGenerationTimes(t *testing.T) {
	s := newShelf(t)
	s.publish("foo", "1-1")
	before := times(t, s)
	for path, at := range before {
		resp, _ := ask(t, s.site(), "GET", path, "If-Modified-Since", at)
		if resp.StatusCode != 304 {
			t.Errorf("GET %s if modified since its own time: %s", path, resp.Status)
		}
	}
	s.publish("foo", "1-2")
	after := times(t, s)
	for path, at := range before {
		if now, ok := after[path]; ok && !httpTime(t, now).After(httpTime(t, at)) {
			t.Errorf("%s: time %s, was %s", path, now, at)
		}
		if resp, _ := ask(t, s.site(), "GET", path); resp.StatusCode != 200 {
			t.Errorf("GET %s after another generation: %s", path, resp.Status)
		}
	}
}

// times returns Last-Modified of the current generation's files by path, and
// checks that it is one.
func times(t *testing.T, s *shelf) map[string]string {
	t.Helper()
	resp, _ := ask(t, s.site(), "GET", "/serene/x86_64/serene.db")
	dir, _ := strings.CutSuffix(resp.Header.Get("Location"), "serene.db")
	all := map[string]string{}
	distinct := map[string]bool{}
	for _, path := range []string{
		dir + "serene.db", dir + "serene.db.sig", dir + "serene.files", dir + "serene.files.sig",
		"/serene/x86_64/serene.db.sig", "/serene/x86_64/serene.files.sig",
	} {
		resp, _ := ask(t, s.site(), "GET", path)
		all[path] = resp.Header.Get("Last-Modified")
		distinct[all[path]] = true
	}
	if len(distinct) != 1 {
		t.Errorf("several times in one generation: %v", all)
	}
	return all
}

func httpTime(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := http.ParseTime(s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// broken fails in the way err says, whatever is asked of it.
type broken struct {
	*repo.Store
	err error
}

func (b broken) View(string, string) (*repo.View, error)              { return nil, b.err }
func (b broken) OpenFile(string, string, string) (*os.File, error)    { return nil, b.err }
func (b broken) PublicKey() (armored []byte, print string, err error) { return nil, "", b.err }

func TestErrors(t *testing.T) {
	s := newShelf(t)
	site := s.site()
	for _, test := range []struct {
		err    error
		status int
	}{
		{fmt.Errorf("%w: no key yet", repo.ErrBusy), 503},
		{os.ErrNotExist, 404},
		{os.ErrPermission, 500},
	} {
		site.store = broken{s.store, test.err}
		for _, path := range []string{"/key.asc", "/serene/x86_64/serene.db", "/serene/x86_64/serene.db.sig", "/serene/x86_64/foo-1-1-any.pkg.tar.zst"} {
			resp, body := ask(t, site, "GET", path)
			if resp.StatusCode != test.status || string(body) != http.StatusText(test.status)+"\n" {
				t.Errorf("GET %s with %v: %s %q", path, test.err, resp.Status, body)
			}
		}
	}
}

func TestGenCache(t *testing.T) {
	dir := t.TempDir()
	opened := 0
	open := func(_, _ string, gen int64, name string) (*os.File, error) {
		opened++
		return os.Open(filepath.Join(dir, name))
	}
	write := func(name string, size int64) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	write("small", 10)
	write("half", cacheMostFile)
	write("huge", cacheMostFile+1)
	c := newGenCache()
	get := func(gen int64, name string, want int) {
		t.Helper()
		got, err := c.get(genFile{"r", "a", gen, name}, open)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if size, err := got.Seek(0, io.SeekEnd); err != nil || size == 0 {
			t.Errorf("%s has %d bytes, %v", name, size, err)
		}
		if opened != want {
			t.Errorf("%s of generation %d: opened %d files, want %d", name, gen, opened, want)
		}
		if c.bytes > cacheMost {
			t.Errorf("%d bytes in memory", c.bytes)
		}
	}
	get(1, "small", 1)
	get(1, "small", 1)
	get(2, "small", 2)
	get(2, "huge", 3)
	get(2, "huge", 4) // never kept
	get(1, "half", 5)
	get(2, "half", 6) // sends the two small ones out
	get(2, "half", 6)
	get(1, "half", 6)
	get(1, "small", 7) // sends a half out
	get(1, "half", 8)
	if _, err := c.get(genFile{"r", "a", 1, "none"}, open); err == nil {
		t.Error("no error for a file that is not there")
	}
}

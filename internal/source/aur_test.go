package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm"
	"serene/internal/source/aurtest"
)

const splitSrcInfo = `pkgbase = suite
	pkgver = 3
	pkgrel = 1
	arch = x86_64
	makedepends = cmake

pkgname = suite-libs
	provides = libsuite.so
	provides = engine=2

pkgname = suite-tools
	depends = suite-libs=3
`

var split = aurtest.Package{Base: "suite", Files: map[string]string{"PKGBUILD": "", ".SRCINFO": splitSrcInfo}}

func names(pkgs []Pkg) []string {
	var all []string
	for _, p := range pkgs {
		all = append(all, p.Name)
	}
	return all
}

func TestInfo(t *testing.T) {
	plain := aurtest.Simple("foo", "1:2-3", "depends = bar>=1", "makedepends = make", "checkdepends = check", "provides = fu=2", "optdepends = baz: more")
	plain.OutOfDate, plain.LastModified = 7, 8
	s := aurtest.New(t, plain, split)
	aur := &AUR{URL: s.URL}
	got, err := aur.Info(t.Context(), "suite-tools", "foo", "foo", "nobody", "not a name", "../x", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Pkg{
		{Name: "foo", Base: "foo", Version: "1:2-3", Description: "foo for tests", Maintainer: "tester", OutOfDate: 7, LastModified: 8,
			Depends: []string{"bar>=1"}, MakeDepends: []string{"make"}, CheckDepends: []string{"check"}, OptDepends: []string{"baz: more"}, Provides: []string{"fu=2"}},
		{Name: "suite-tools", Base: "suite", Version: "3-1", Maintainer: "tester", Depends: []string{"suite-libs=3"}, MakeDepends: []string{"cmake"}},
	}
	got[1].LastModified = 0
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if asked := s.Requests(); len(asked) != 1 {
		t.Errorf("%d requests: %q", len(asked), asked)
	}
	if none, err := aur.Info(t.Context(), "not a name"); err != nil || len(none) != 0 || len(s.Requests()) != 1 {
		t.Errorf("asked for no name at all: %v, %v", none, err)
	}
}

func TestInfoAsksInBatches(t *testing.T) {
	var all []aurtest.Package
	var want []string
	for i := range 120 {
		name := fmt.Sprintf("p%03d", i)
		all, want = append(all, aurtest.Simple(name, "1-1")), append(want, name)
	}
	long := strings.Repeat("long+", 40) // twice as long when escaped
	for i := range 30 {
		want = append(want, fmt.Sprintf("%s%02d", long, i))
	}
	s := aurtest.New(t)
	if err := s.Add(all[:3]...); err != nil {
		t.Fatal(err)
	}
	got, err := (&AUR{URL: s.URL}).Info(t.Context(), want...)
	if err != nil || !slices.Equal(names(got), want[:3]) {
		t.Fatal(names(got), err)
	}
	asked := 0
	for _, request := range s.Requests() {
		_, query, _ := strings.Cut(request, "?")
		if len(query) > maxQuery {
			t.Errorf("a query of %d bytes", len(query))
		}
		values, err := url.ParseQuery(query)
		if err != nil || len(values["arg[]"]) > maxBatch {
			t.Errorf("%d names, %v", len(values["arg[]"]), err)
		}
		asked += len(values["arg[]"])
	}
	if asked != len(want) || len(s.Requests()) > 6 {
		t.Errorf("asked for %d names of %d in %d requests", asked, len(want), len(s.Requests()))
	}
}

func TestProvidersAndMembers(t *testing.T) {
	s := aurtest.New(t, split, aurtest.Simple("motor", "1-1", "provides = engine"), aurtest.Simple("engine-parts", "1-1"))
	aur := &AUR{URL: s.URL}
	for word, want := range map[string][]string{
		"engine":      {"motor", "suite-libs"},
		"libsuite.so": {"suite-libs"},
		"motor":       {"motor"},
		"nothing":     nil,
		"x y":         nil,
		"engine=2":    nil,
		"e":           nil,
	} {
		got, err := aur.Providers(t.Context(), word)
		if err != nil || !slices.Equal(names(got), want) {
			t.Errorf("%s is provided by %q, want %q (%v)", word, names(got), want, err)
		}
	}
	got, err := aur.Members(t.Context(), "suite")
	if err != nil || !slices.Equal(names(got), []string{"suite-libs", "suite-tools"}) {
		t.Error(names(got), err)
	}
}

// A server may answer anything.
func TestAURRefusesNonsense(t *testing.T) {
	result := func(body string) string {
		return `{"version":5,"type":"multiinfo","resultcount":1,"results":[` + body + `]}`
	}
	for _, c := range []struct {
		body  string
		class error
	}{
		{"", ErrUnavailable},
		{"<html>", ErrUnavailable},
		{`{"version":5,"type":"error","error":"Rate limit\u001b[2J","resultcount":0,"results":[]}`, ErrUnavailable},
		{`{"version":4,"type":"multiinfo","resultcount":0,"results":[]}`, ErrRefused},
		{`{"version":5,"type":"search","resultcount":0,"results":[]}`, ErrRefused},
		{`{"version":5,"type":"multiinfo","resultcount":2,"results":[]}`, ErrRefused},
		{result(`{"Name":"bar","PackageBase":"bar","Version":"1-1"}`), ErrRefused},
		{result(`{"Name":"foo","PackageBase":"../foo","Version":"1-1"}`), ErrRefused},
		{result(`{"Name":"foo","PackageBase":"--x","Version":"1-1"}`), ErrRefused},
		{result(`{"Name":"foo","PackageBase":"foo","Version":"$(id)-1"}`), ErrRefused},
		{result(`{"Name":"foo","PackageBase":"foo","Version":"1-1","Depends":["--root=/"]}`), ErrRefused},
		{result(`{"Name":"foo","PackageBase":"foo","Version":"1-1","Provides":["a\nb"]}`), ErrRefused},
		{result(`{"Name":"","PackageBase":"foo","Version":"1-1"}`), ErrRefused},
		{`{"version":5,"type":"multiinfo","resultcount":2,"results":[{"Name":"foo","PackageBase":"foo","Version":"1-1"},{"Name":"foo","PackageBase":"foo","Version":"1-1"}]}`, ErrRefused},
		{strings.Repeat(" ", maxAnswer+1), ErrTooLarge},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(c.body)) }))
		got, err := (&AUR{URL: s.URL}).Info(t.Context(), "foo")
		s.Close()
		if !errors.Is(err, c.class) {
			t.Errorf("%.80q gave %v, %v", c.body, got, err)
		} else {
			wantClass(t, err, c.class)
		}
	}
}

// In what a search found, one bad package does not hide the others.
func TestProvidersPassOverNonsense(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("good", "1-1", "provides = thing"))
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		bad := `{"Name":"bad","PackageBase":"../bad","Version":"1-1","Provides":["thing"]}`
		good := `{"Name":"good","PackageBase":"good","Version":"1-1","Provides":["thing"]}`
		kind := "multiinfo"
		if strings.Contains(r.URL.Path, "search") {
			kind = "search"
		}
		fmt.Fprintf(w, `{"version":5,"type":%q,"resultcount":2,"results":[%s,%s]}`, kind, bad, good)
		return true
	})
	got, err := (&AUR{URL: s.URL}).Providers(t.Context(), "thing")
	if err != nil || !slices.Equal(names(got), []string{"good"}) {
		t.Error(names(got), err)
	}
}

func TestAURIsReachedByHTTPSOnly(t *testing.T) {
	for _, u := range []string{"http://example.org", "ssh://example.org", "ftp://example.org", "example.org", "", "https://user:pw@example.org", "https://example.org?x"} {
		_, err := (&AUR{URL: u}).Info(t.Context(), "foo")
		wantClass(t, err, ErrRefused)
	}
}

func TestAURTrouble(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("foo", "1-1"))
	aur := &AUR{URL: s.URL}
	for _, status := range []int{http.StatusFound, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway} {
		s.Before(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", status)
			return true
		})
		before := len(s.Requests())
		_, err := aur.Info(t.Context(), "foo")
		wantClass(t, err, ErrUnavailable)
		if n := len(s.Requests()) - before; n != 1 {
			t.Errorf("%d: %d requests", status, n)
		}
	}
	s.Close()
	_, err := aur.Info(t.Context(), "foo")
	wantClass(t, err, ErrUnavailable)
}

func TestAURHangs(t *testing.T) {
	s := aurtest.New(t)
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	_, err := (&AUR{URL: s.URL, Timeout: 50 * time.Millisecond}).Info(t.Context(), "foo")
	wantClass(t, err, ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&AUR{URL: s.URL}).Info(ctx, "foo"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A package that passes has names and dependencies that are safe to use.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"version":5,"type":"multiinfo","resultcount":1,"results":[{"Name":"foo","PackageBase":"foo","Version":"1:1-1","Depends":["bar>=1"],"Maintainer":null}]}`))
	f.Add([]byte(`{"version":5,"type":"error","error":"no","resultcount":0,"results":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		pkgs, err := parseAnswer(body, "multiinfo")
		if err != nil {
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		for _, p := range pkgs {
			if p.check() != nil {
				continue
			}
			if err := (&AUR{URL: "https://example.org"}).Ref(p.Base).Check(Allow{}); err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
			if _, err := alpm.ParseFileName(p.Name + "-" + string(p.Version) + "-any.pkg.tar.zst"); err != nil && len(p.Name)+len(p.Version) < 200 {
				t.Fatalf("%+v: %v", p, err)
			}
		}
	})
}

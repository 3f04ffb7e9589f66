package serve

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"serene/internal/alpm/alpmtest"
	"serene/internal/repo"
)

// A generation's directory is a repository of its own: databases and packages.
func TestPinned(t *testing.T) {
	s := newShelf(t)
	data, file := s.publish("foo", "1-1")
	v, err := s.store.View("serene", "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	s.publish("foo", "1-2")
	site := s.site()
	want := map[string][]byte{"serene.db": nil, "serene.db.sig": nil, "serene.files": nil, "serene.db.tar.zst": nil, file: data, file + ".sig": nil}
	for name, content := range want {
		for _, base := range []string{"/serene/x86_64/gen/", "/x86_64/gen/"} {
			resp, body := ask(t, site, "GET", base+fmt.Sprint(v.Gen)+"/"+name)
			if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != cacheForever || content != nil && !bytes.Equal(body, content) {
				t.Errorf("%s%s: %s %v", base, name, resp.Status, resp.Header)
			}
		}
	}
}

// A staged set is a repository for whoever knows its name, kept by nobody.
func TestStaged(t *testing.T) {
	s := newShelf(t)
	_, old := s.publish("old", "1-1")
	data, file := alpmtest.Package("foo", "1-1")
	token := s.stage(data, file)
	site := s.site()
	base := "/stage/" + token + "/serene/x86_64/"
	for _, name := range []string{"serene.db", "serene.db.sig", "serene.files.sig", file, file + ".sig", old} {
		resp, body := ask(t, site, "GET", base+name)
		if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != cachePrivate || name == file && !bytes.Equal(body, data) {
			t.Errorf("%s: %s %v", name, resp.Status, resp.Header)
		}
	}
	for _, path := range []string{base, "/stage/" + token, "/serene/x86_64/" + file, base + "tx.json", "/stage/" + token + "/testing/x86_64/testing.db"} {
		if resp, _ := ask(t, site, "GET", path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// stage has a package staged and returns its token.
func (s *shelf) stage(data []byte, file string) string {
	s.t.Helper()
	tx, err := s.store.Begin(repo.Actor{}, repo.TxOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer tx.Abort()
	tx.Stage()
	if _, err := tx.Add(context.Background(), file, -1, bytes.NewReader(data)); err != nil {
		s.t.Fatal(err)
	}
	id, err := tx.Submit()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.w.Refresh(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	o, err := s.store.Outcome(id)
	if err != nil || o.Error != "" {
		s.t.Fatal(o, err)
	}
	return o.Stage
}

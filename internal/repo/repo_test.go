package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// testRepo is a state directory with a writer on it.
type testRepo struct {
	t      testing.TB
	dir    string
	specs  []Spec
	store  *Store
	signer *Signer
	w      *Writer
}

func newTestRepo(t testing.TB) *testRepo {
	t.Helper()
	r := &testRepo{t: t, dir: t.TempDir(), specs: []Spec{{Name: "serene", Arches: []string{"x86_64"}}}}
	r.open()
	return r
}

// open starts, or restarts after a crash: nothing of the old process is left
// but the directory.
func (r *testRepo) open() {
	r.t.Helper()
	if r.w != nil {
		r.w.Close()
	}
	var err error
	if r.store, err = Open(r.dir, r.specs, Options{}); err != nil {
		r.t.Fatal(err)
	}
	if r.signer, _, err = LoadOrCreateSigner(filepath.Join(r.dir, "keys", "signing.asc"), nil, "serene <serene@localhost>"); err != nil {
		r.t.Fatal(err)
	}
	if r.w, err = OpenWriter(r.store, r.signer, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		r.t.Fatal(err)
	}
	w := r.w
	r.t.Cleanup(func() { w.Close() })
}

type pkg struct {
	name string
	data []byte
}

func build(name, version string, opts ...alpmtest.Option) pkg {
	data, file := alpmtest.Package(name, version, opts...)
	return pkg{file, data}
}

// submit hands packages over and returns the transaction.
func (r *testRepo) submit(o TxOptions, remove []string, pkgs ...pkg) (string, error) {
	r.t.Helper()
	tx, err := r.store.Begin(Actor{Key: "SHA256:test", Verb: "push"}, o)
	if err != nil {
		return "", err
	}
	defer tx.Abort()
	for _, p := range pkgs {
		if sig, ok := strings.CutSuffix(p.name, ".sig"); ok && sig != "" {
			err = tx.AddSignature(p.name, bytes.NewReader(p.data))
		} else {
			_, err = tx.Add(context.Background(), p.name, -1, bytes.NewReader(p.data))
		}
		if err != nil {
			return "", err
		}
	}
	if err := tx.Remove(remove...); err != nil {
		return "", err
	}
	return tx.Submit()
}

// push submits and refreshes.
func (r *testRepo) push(pkgs ...pkg) *Outcome { return r.change(TxOptions{}, nil, pkgs...) }

func (r *testRepo) change(o TxOptions, remove []string, pkgs ...pkg) *Outcome {
	r.t.Helper()
	id, err := r.submit(o, remove, pkgs...)
	if err != nil {
		return &Outcome{Class: classOf(err), Error: err.Error()}
	}
	r.refresh()
	return r.outcome(id)
}

func (r *testRepo) refresh() {
	r.t.Helper()
	if _, err := r.w.Refresh(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *testRepo) outcome(id string) *Outcome {
	r.t.Helper()
	o, err := r.store.Outcome(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// published is "name version" of what a place holds, sorted.
func (r *testRepo) published(repo, arch string) []string {
	r.t.Helper()
	v, err := r.store.View(repo, arch)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for e := range v.Entries() {
		got = append(got, e.Name+" "+string(e.Version))
	}
	return got
}

func (r *testRepo) want(repo, arch string, want ...string) {
	r.t.Helper()
	if got := r.published(repo, arch); !slices.Equal(got, want) {
		r.t.Errorf("%s/%s holds %q, want %q", repo, arch, got, want)
	}
}

func wantLines(t *testing.T, o *Outcome, want ...string) {
	t.Helper()
	var got []string
	for _, r := range o.Receipts {
		line, _, _ := strings.Cut(r.String(), " sha256:")
		got = append(got, line)
	}
	if o.Error != "" {
		got = append(got, o.Class+": "+o.Error)
	}
	if !slices.Equal(got, want) {
		t.Errorf("outcome\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPush(t *testing.T) {
	r := newTestRepo(t)
	r.want("serene", "x86_64")
	foo := build("foo", "1-1")
	wantLines(t, r.push(foo), "published serene/x86_64 foo 1-1 gen 2")
	wantLines(t, r.push(foo), "already there serene/x86_64 foo 1-1 gen 2")
	wantLines(t, r.push(build("foo", "1-2"), build("bar", "1-1")),
		"published serene/x86_64 foo 1-2 gen 3", "published serene/x86_64 bar 1-1 gen 3")
	r.want("serene", "x86_64", "bar 1-1", "foo 1-2")
	wantLines(t, r.change(TxOptions{}, []string{"bar"}), "removed serene/x86_64 bar 1-1 gen 4")
	r.want("serene", "x86_64", "foo 1-2")
	r.open()
	r.want("serene", "x86_64", "foo 1-2")
}

func TestRules(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1:2-1"), build("eq", "1.0-1"))
	for _, c := range []struct {
		name string
		o    TxOptions
		pkgs []pkg
		want string
	}{
		{"downgrade", TxOptions{}, []pkg{build("foo", "3-1")}, "conflict: foo-3-1-x86_64.pkg.tar.zst: 3-1 is older than 1:2-1, which is published (--downgrade allows it)"},
		{"other bytes", TxOptions{}, []pkg{build("foo", "1:2-1", alpmtest.Desc("other"))}, "conflict: foo-1:2-1-x86_64.pkg.tar.zst: 1:2-1 is published with other bytes; raise pkgrel"},
		{"equal version", TxOptions{Downgrade: true}, []pkg{build("eq", "1.00-1")}, "conflict: eq-1.00-1-x86_64.pkg.tar.zst: 1.00-1 is no newer than x86_64 1.0-1, which is published; raise pkgrel"},
		{"hijack", TxOptions{}, []pkg{build("foo", "1:3-1", alpmtest.Base("evil"))}, "conflict: foo-1:3-1-x86_64.pkg.tar.zst: foo belongs to package base foo, not evil; remove it first"},
		{"arch", TxOptions{}, []pkg{build("arm", "1-1", alpmtest.Arch("aarch64"))}, "content: arm-1-1-aarch64.pkg.tar.zst: arch aarch64: serene takes x86_64 and any"},
		{"twice", TxOptions{}, []pkg{build("dup", "1-1"), build("dup", "1-2")}, "content: dup is in this transaction already, as dup-1-1-x86_64.pkg.tar.zst"},
		{"all or nothing", TxOptions{}, []pkg{build("new", "1-1"), build("foo", "1-1")}, "conflict: foo-1-1-x86_64.pkg.tar.zst: 1-1 is older than 1:2-1, which is published (--downgrade allows it)"},
		{"no repository", TxOptions{Repo: "nope"}, []pkg{build("new", "1-1")}, "not-found: no repository nope"},
		{"nothing", TxOptions{}, nil, "usage: there is nothing in this transaction"},
		{"lone signature", TxOptions{}, []pkg{{"new-1-1-x86_64.pkg.tar.zst.sig", []byte("x")}}, "content: not an OpenPGP signature: openpgp: invalid data: tag byte does not have MSB set"},
	} {
		t.Run(c.name, func(t *testing.T) { wantLines(t, r.change(c.o, nil, c.pkgs...), c.want) })
	}
	r.want("serene", "x86_64", "eq 1.0-1", "foo 1:2-1")
	wantEmpty(t, r.store.path("staging"))
	wantEmpty(t, r.store.path("inbox"))
	wantLines(t, r.change(TxOptions{Downgrade: true}, nil, build("foo", "3-1")), "published serene/x86_64 foo 3-1 gen 3")
	wantLines(t, r.change(TxOptions{}, []string{"none"}), "not-found: no package none in serene")
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s holds %v, %v", dir, entries, err)
	}
}

// A name that was published once never comes back with other bytes, even when
// the package is gone from the database: clients and caches have it by name.
func TestPoolNamesAreForever(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.change(TxOptions{}, []string{"foo"})
	o := r.push(build("foo", "1-1", alpmtest.Desc("other")))
	if o.Class != "conflict" {
		t.Errorf("outcome %+v", o)
	}
	wantLines(t, r.push(build("foo", "1-1")), "published serene/x86_64 foo 1-1 gen 4")
}

var debug = alpmtest.MapPkgInfo(func(s string) string { return strings.Replace(s, "pkgtype=pkg", "pkgtype=debug", 1) })

func TestAnyAndDebug(t *testing.T) {
	r := newTestRepo(t)
	r.specs[0].Arches = []string{"x86_64", "aarch64"}
	r.open()
	o := r.push(build("tool", "1-1", alpmtest.Arch("any")), build("app", "1-1"),
		build("app-debug", "1-1", alpmtest.Base("app"), debug))
	wantLines(t, o,
		"published serene/x86_64 tool 1-1 gen 3", "published serene/aarch64 tool 1-1 gen 3",
		"published serene/x86_64 app 1-1 gen 3", "published serene-debug/x86_64 app-debug 1-1 gen 3")
	r.want("serene", "aarch64", "tool 1-1")
	r.want("serene-debug", "x86_64", "app-debug 1-1")
}

func TestSecondWriterIsRefused(t *testing.T) {
	r := newTestRepo(t)
	_, err := OpenWriter(r.store, r.signer, slog.Default())
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "pid") {
		t.Errorf("second writer: %v", err)
	}
}

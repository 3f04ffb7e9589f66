package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"serene/internal/build/buildtest"
)

// upstream makes an image whose pacman.conf has a mirror of the repository in
// dir, without the files that leave names.
func upstream(t *testing.T, b *bench, s signer, dir, tag string, leave ...string) *Sandbox {
	t.Helper()
	var files bytes.Buffer
	w := newFurniture(&files)
	w.file("/Containerfile", []byte(fmt.Sprintf(`FROM %s
COPY mirror /mirror
RUN printf '[up]\nSigLevel = Required\nServer = file:///mirror\n' >>/etc/pacman.conf && \
    pacman-key --add /mirror/key.asc && pacman-key --lsign-key %X && gpgconf --homedir /etc/pacman.d/gnupg --kill all
`, buildtest.Image, s.PrimaryKey.Fingerprint)))
	w.file("/mirror/key.asc", s.public(t))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(leave, f.Name()) {
			w.file("/mirror/"+f.Name(), data)
		}
	}
	var log bytes.Buffer
	if err := errors.Join(w.end(), b.docker.Build(t.Context(), &files, tag, nil, false, &log)); err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	t.Cleanup(func() {
		if err := b.docker.Untag(context.WithoutCancel(t.Context()), tag); err != nil {
			t.Error(err)
		}
	})
	return NewSandbox(b.docker, b.docker, tag, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

const barFile = "bar-1.0-1-any.pkg.tar.zst"

// What a container has downloaded from a mirror another need not, except for
// what is from the local repository.
func TestPacmanCache(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), newSigner(t)
	mirror := depIn(t, b, s, "up", "bar")
	r := recipe(t, "depends=(bar baz)")
	r.Depends = []string{"bar", "baz"}
	r.LocalRepo, r.RepoName, r.RepoKey = depIn(t, b, s, "own", "baz"), "own", s.public(t)
	c, err := OpenPacmanCache(t.TempDir(), 1<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	whole := upstream(t, b, s, mirror, "serene-test-mirror:whole")
	empty := upstream(t, b, s, mirror, "serene-test-mirror:empty", barFile, barFile+".sig")
	for _, box := range []*Sandbox{whole, empty} {
		box.Share(c)
	}
	run := func(box *Sandbox) (string, error) {
		t.Helper()
		r.Out = t.TempDir()
		_, log, err := (&bench{box, b.docker}).run(t, r)
		return log, err
	}

	if _, err := run(empty); CauseOf(err) != CauseHost {
		t.Errorf("without the package: %v", err)
	}
	if log, err := run(whole); err != nil || !strings.Contains(log, "bar-1.0-1-any downloading...") {
		t.Errorf("the first time: %v", err)
	}
	if got := c.names(t); got != barFile+" "+barFile+".sig" {
		t.Errorf("cached: %s", got)
	}
	for _, box := range []*Sandbox{whole, empty} {
		if log, err := run(box); err != nil || strings.Contains(log, "bar-1.0-1-any downloading...") {
			t.Errorf("from the cache: %v", err)
		}
	}

	// What is damaged costs one more try, and is gone after it.
	for _, damage := range []string{barFile, barFile + ".sig"} {
		if err := os.WriteFile(filepath.Join(c.dir, damage), []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		log, err := run(whole)
		if err != nil || !strings.Contains(log, "  -> once more without the cache; damaged there: "+barFile+"\n") {
			t.Errorf("%s is damaged: %v", damage, err)
		}
		if got := c.names(t); got != "" {
			t.Errorf("cached: %s", got)
		}
		if _, err := run(whole); err != nil || c.names(t) == "" {
			t.Errorf("after that: %v", err)
		}
	}
}

// tarOf is what an engine gives of the directory with downloads.
func tarOf(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Size, h.Linkname = int64(len(text)), ""
		}
		h.Name = "downloads/" + h.Name
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, text)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func regular(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text}
}

// names lists a cache's directory.
func (c *PacmanCache) names(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestPacmanCacheTakes(t *testing.T) {
	c, err := OpenPacmanCache(t.TempDir(), 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	own := func(file string) bool { return file == "own-1-1-any.pkg.tar.zst" }
	err = c.keep(t.Context(), tarOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: ""},
		regular("a-1-1-any.pkg.tar.zst", "a"), regular("a-1-1-any.pkg.tar.zst.sig", "s"),
		regular("own-1-1-any.pkg.tar.zst", "o"), regular("own-1-1-any.pkg.tar.zst.sig", "o"),
		regular("a-1-1-any.pkg.tar.zst.part", "p"), regular("passwd", "p"), regular("..", "p"), regular(".sig", "p"),
		regular("big-1-1-any.pkg.tar.zst", strings.Repeat("x", 101)),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "b-1-1-any.pkg.tar.zst", Linkname: "/etc/passwd"},
		tar.Header{Typeflag: tar.TypeLink, Name: "c-1-1-any.pkg.tar.zst", Linkname: "/etc/passwd"},
	), own)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.names(t); got != "a-1-1-any.pkg.tar.zst a-1-1-any.pkg.tar.zst.sig" {
		t.Errorf("kept %s", got)
	}

	// A disk that is short stays as it is, and a tar that is cut off leaves nothing.
	c.minFree = 1 << 62
	if err := c.keep(t.Context(), tarOf(t, regular("d-1-1-any.pkg.tar.zst", "d")), own); err != nil {
		t.Error(err)
	}
	c.minFree = 0
	whole, err := io.ReadAll(tarOf(t, regular("e-1-1-any.pkg.tar.zst", "eeee")))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.keep(t.Context(), bytes.NewReader(whole[:514]), own); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
	if got := c.names(t); got != "a-1-1-any.pkg.tar.zst a-1-1-any.pkg.tar.zst.sig" {
		t.Errorf("kept %s", got)
	}
}

// What was needed longest ago goes first, a package with its signature.
func TestPacmanCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".aside-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := OpenPacmanCache(dir, 30, 0)
	if err != nil {
		t.Fatal(err)
	}
	own := func(string) bool { return false }
	for i, name := range []string{"a", "b", "c"} {
		f := name + "-1-1-any.pkg.tar.zst"
		if err := c.keep(t.Context(), tarOf(t, regular(f, "12345"), regular(f+".sig", "12345")), own); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Duration(i-10) * time.Hour)
		for _, f := range []string{f, f + ".sig"} {
			if err := os.Chtimes(filepath.Join(dir, f), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := regular(".used", "/x/a-1-1-any.pkg.tar.zst\nnonsense\n../b-1-1-any.pkg.tar.zst.part\n")
	if err := c.keep(t.Context(), tarOf(t, regular("d-1-1-any.pkg.tar.zst", "1"), used), own); err != nil {
		t.Fatal(err)
	}
	want := "a-1-1-any.pkg.tar.zst a-1-1-any.pkg.tar.zst.sig c-1-1-any.pkg.tar.zst c-1-1-any.pkg.tar.zst.sig d-1-1-any.pkg.tar.zst"
	if got := c.names(t); got != want {
		t.Errorf("left: %s", got)
	}
}

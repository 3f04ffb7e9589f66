package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm"
)

// when calls do once, as soon as text was printed.
type when struct {
	text string
	do   func()
	seen bytes.Buffer
}

func (w *when) Write(p []byte) (int, error) {
	w.seen.Write(p)
	if w.do != nil && strings.Contains(w.seen.String(), w.text) {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

var errChangedMind = errors.New("cancelled: not needed any more")

func TestCancel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := recipe(t, `build() { echo "now building"; sleep 1000; }`)
	ctx, cancel := context.WithCancelCause(t.Context())
	var at time.Time
	w := &when{text: "now building", do: func() { at = time.Now(); cancel(errChangedMind) }}
	_, err := b.Run(ctx, r, w, nil)
	if err != errChangedMind || at.IsZero() {
		t.Fatalf("error = %v\n%s", err, w.seen.Bytes())
	}
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// A container that someone else removes is not the package's fault.
func TestContainerGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := recipe(t, `build() { echo "now building"; sleep 1000; }`)
	w := &when{text: "now building", do: func() {
		if err := b.docker.Remove(t.Context(), Container{ID: "serene-" + r.Job}); err != nil {
			t.Error(err)
		}
	}}
	if _, err := b.Run(t.Context(), r, w, nil); CauseOf(err) != CauseHost {
		t.Errorf("error = %v\n%s", err, w.seen.Bytes())
	}
}

// A log that cannot be written ends the build, as nobody would know of it.
func TestLogGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, w := io.Pipe()
	r.CloseWithError(io.ErrShortWrite)
	_, err := b.Run(t.Context(), recipe(t, ""), w, nil)
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error = %v", err)
	}
}

// Sweep removes what dead jobs have left, and nothing else; and a job that is
// taken up again does not stumble over its own leavings.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	spec := Spec{Base: "foo", Image: b.image, Network: true, Limits: testLimits()}
	var made []Container
	for _, job := range []string{"sweep-alive", "sweep-dead"} {
		spec.Job = job
		c, err := b.docker.Create(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, c)
	}
	n, err := b.docker.Sweep(t.Context(), func(job string) bool { return job == "sweep-alive" })
	if err != nil || n != 2 {
		t.Errorf("swept %d, %v", n, err)
	}
	if _, err := b.docker.Usage(t.Context(), made[0], false); err != nil {
		t.Errorf("the living one: %v", err)
	}
	if _, err := b.docker.Usage(t.Context(), made[1], false); err == nil {
		t.Error("the dead one is still there")
	}
	spec.Job = "sweep-alive"
	again, err := b.docker.Create(t.Context(), spec)
	if err != nil || again.ID == made[0].ID {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := b.docker.Sweep(t.Context(), func(string) bool { return false }); err != nil {
		t.Error(err)
	}
}

// What a build writes to its caches is part of its share of the disk.
func TestDiskOfCaches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := recipe(t, `build() { for i in {1..1000}; do head -c 20M /dev/zero >/srcdest/$i; echo; sleep 0.1; done; }`)
	r.SourceCache = "serene-test-disk-of-caches"
	_, _, err := b.run(t, r)
	if CauseOf(err) != CauseDisk {
		t.Errorf("error = %v", err)
	}
	if n, err := b.docker.SweepCaches(t.Context(), func(string, time.Time) bool { return false }); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

// An install script may have put anything in the place of what measures.
func TestDiskWithAnotherDu(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, err := b.docker.Create(t.Context(), Spec{
		Job: "another-du", Base: "foo", Image: b.image, Limits: testLimits(),
		Mounts: []Mount{{Source: "serene-test-another-du", Target: "/srcdest"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const replace = `printf '#!/bin/sh\nexec yes 1000' >/usr/bin/du && head -c 1M /dev/zero >/zeros`
	if code, err := b.docker.Exec(t.Context(), c, Step{User: "root", Dir: "/", Cmd: []string{"bash", "-c", replace}}, io.Discard); code != 0 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	u, err := b.docker.Usage(t.Context(), c, true)
	if err != nil || u.Disk < 1<<20 || u.Disk > 64<<20 {
		t.Errorf("%d bytes of disk, %v", u.Disk, err)
	}
	if err := b.docker.Remove(t.Context(), c); err != nil {
		t.Error(err)
	}
	if n, err := b.docker.SweepCaches(t.Context(), func(string, time.Time) bool { return false }); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

// Volumes of caches go when nobody keeps or uses them, and other builders' never.
func TestSweepCaches(t *testing.T) {
	t.Parallel()
	b, other := newBench(t), newBench(t)
	other.docker.builder += "-other"
	spec := func(name string) Spec {
		return Spec{Job: "caches-" + name, Base: "foo", Image: b.image, Limits: testLimits(), Mounts: []Mount{{Source: "serene-test-caches-" + name, Target: "/srcdest"}}}
	}
	make := func(b *bench, name string) Container {
		t.Helper()
		c, err := b.docker.Create(t.Context(), spec(name))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	remove := func(b *bench, c Container) {
		t.Helper()
		if err := b.docker.Remove(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	sweep := func(b *bench, want int, keep ...string) {
		t.Helper()
		n, err := b.docker.SweepCaches(t.Context(), func(volume string, made time.Time) bool {
			if age := time.Since(made); age < -time.Minute || age > time.Hour {
				t.Errorf("%s was made at %s", volume, made)
			}
			return slices.Contains(keep, strings.TrimPrefix(volume, "serene-test-caches-"))
		})
		if err != nil || n != want {
			t.Errorf("swept %d, %v; want %d", n, err, want)
		}
	}
	used := make(b, "used")
	for _, name := range []string{"kept", "unused"} {
		remove(b, make(b, name))
	}
	remove(other, make(other, "theirs"))
	sweep(b, 1, "kept")
	sweep(b, 0, "kept")
	remove(b, used)
	sweep(b, 2)
	sweep(other, 1)
}

func TestSrcInfo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := recipe(t, "makedepends=(bar)\necho nonsense >&2; ls /sys/class/net >&2")
	var log bytes.Buffer
	text, err := b.SrcInfo(t.Context(), r, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	info, err := alpm.ParseSrcInfo(text)
	if err != nil || info.Base != "foo" || !slices.Equal(info.BuildDepends("x86_64"), []string{"bar"}) {
		t.Errorf("%+v, %v", info, err)
	}
	if !strings.Contains(log.String(), "nonsense\nlo\n") {
		t.Errorf("log:\n%s", log.Bytes())
	}
}

func TestSrcInfoFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       Cause
	}{
		{"syntax", "(", CausePackage},
		{"link", "ln -sf /etc/passwd /pkgdest/.SRCINFO", CausePackage},
		{"huge", "head -c 2M /dev/zero", CausePackage},
		{"silent", "sleep 1000", CauseSilence},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := recipe(t, c.text)
			r.Limits.Silence = 5 * time.Second
			if _, err := b.SrcInfo(t.Context(), r, io.Discard); CauseOf(err) != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

// Sources of a version control system are cloned once, while there may be a
// network, and pkgver() then decides. What a cache keeps is there the next time.
func TestVersionControlAndCache(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const sources, compiler = "serene-sources-test", "serene-ccache-test"
	t.Cleanup(func() {
		for _, volume := range []string{sources, compiler} {
			if err := b.docker.api.VolumeRemove(context.WithoutCancel(t.Context()), volume, true); err != nil {
				t.Error(err)
			}
		}
	})
	text := `
build() { touch "$CCACHE_DIR/mine" && [[ $PATH = /usr/lib/ccache/* ]]; }
[[ -d /srcdest/clone ]] && echo "cached" || {
	git init -q /srcdest/origin && cd /srcdest/origin
	git -c user.name=x -c user.email=x commit -q --allow-empty -m first && git tag v3 && cd "$OLDPWD"
}
source=(clone::git+file:///srcdest/origin)
sha256sums=(SKIP)
pkgver() { git -C clone describe --tags | tr -d v; }
`
	for _, round := range []string{"first", "second"} {
		r := recipe(t, text)
		r.Network, r.Sources = NetworkNone, []string{"clone::git+file:///srcdest/origin"}
		r.SourceCache, r.CompilerCache = sources, compiler
		result, log, err := b.run(t, r)
		if err != nil {
			t.Fatal(err)
		}
		if v := result.Packages[0].File.Version; v != "3-1" {
			t.Errorf("version %s", v)
		}
		if n := strings.Count(log, "no ccache: the image does not have it\n"); n != 1 {
			t.Errorf("it says %d times that there is no ccache", n)
		}
		if before, _, _ := strings.Cut(log, "==> Making"); strings.Contains(before, "cached") != (round == "second") {
			t.Errorf("the %s time:\n%s", round, log)
		}
	}
}

func TestSplitPackage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := recipe(t, `
pkgbase=foo
pkgname=(foo foo-doc)
epoch=2
arch=(x86_64)
options=(debug !strip)
package_foo() { install -Dm644 /dev/null "$pkgdir/usr/share/foo/a"; }
package_foo-doc() { arch=(any); install -Dm644 /dev/null "$pkgdir/usr/share/foo/b"; }
`)
	r.Packages = []string{"foo-doc", "foo"}
	var phases []string
	result, err := b.Run(t.Context(), r, io.Discard, func(p string) { phases = append(phases, p) })
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, p := range result.Packages {
		files = append(files, p.File.String())
	}
	want := []string{"foo-2:1.0-1-x86_64.pkg.tar.zst", "foo-doc-2:1.0-1-any.pkg.tar.zst"}
	if !slices.Equal(files, want) {
		t.Errorf("files %q", files)
	}
	if want := []string{"prepare", "build", "collect"}; !slices.Equal(phases, want) {
		t.Errorf("phases %q", phases)
	}
}

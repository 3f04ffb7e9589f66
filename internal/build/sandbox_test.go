package build

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"serene/internal/build/buildtest"
)

// bench is a sandbox in a real engine, whose leavings are looked for at the end.
type bench struct {
	*Sandbox
	docker *Docker
}

func newBench(t testing.TB) *bench {
	t.Helper()
	host := buildtest.Engine(t)
	d, err := NewDocker(t.Context(), host, "test-"+strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nothingLeft(t, d)
		d.Close()
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &bench{NewSandbox(d, d, buildtest.Image, log), d}
}

// nothingLeft fails the test if the engine has anything that d has made.
func nothingLeft(t testing.TB, d *Docker) {
	ctx := context.WithoutCancel(t.Context())
	mine := filters.NewArgs(filters.Arg("label", labelBuilder+"="+d.builder))
	containers, err1 := d.api.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	networks, err2 := d.api.NetworkList(ctx, network.ListOptions{Filters: mine})
	volumes, err3 := d.api.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Error(err)
	}
	if n := len(containers) + len(networks) + len(volumes.Volumes); n > 0 {
		t.Errorf("left behind: %v %v %v", containers, networks, volumes.Volumes)
	}
}

// testLimits are small, so that what exceeds them does so soon.
func testLimits() Limits {
	l := DefaultLimits()
	l.Memory, l.Tmp, l.Disk = 512<<20, 64<<20, 256<<20
	l.Pids = 256
	l.Timeout, l.Silence = 5*time.Minute, 2*time.Minute
	l.MinFree = 1 << 20
	return l
}

// pkgbuild completes what a test is about to a PKGBUILD.
func pkgbuild(text string) string {
	const head = `pkgname=foo
pkgver=1.0
pkgrel=1
pkgdesc='a package'
arch=(any)
license=(MIT)
`
	const body = `
package() { install -Dm644 /dev/null "$pkgdir/usr/share/$pkgname/empty"; }
`
	if strings.Contains(text, "package") {
		return head + text
	}
	return head + text + body
}

// recipe is one for a tree of a PKGBUILD and other files, NAME, TEXT, ….
func recipe(t testing.TB, text string, files ...string) Recipe {
	t.Helper()
	tree := t.TempDir()
	files = append(files, "PKGBUILD", pkgbuild(text))
	for ; len(files) > 0; files = files[2:] {
		path := filepath.Join(tree, files[0])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[1]), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return Recipe{
		Job: "job-" + strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())), Base: "foo", Arch: "x86_64",
		Tree: tree, Out: t.TempDir(), Packages: []string{"foo"},
		Network: NetworkFetch, Limits: testLimits(), Packager: "Tests <tests@example.org>",
	}
}

// run runs a recipe and shows the log if the test fails.
func (b *bench) run(t testing.TB, r Recipe) (*Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	result, err := b.Run(t.Context(), r, &log, nil)
	t.Cleanup(func() {
		if t.Failed() {
			s := log.String()
			t.Logf("error: %v\n%s", err, s[max(0, len(s)-4000):])
		}
	})
	return result, log.String(), err
}

func TestRun(t *testing.T) {
	b := newBench(t)
	r := recipe(t, `
source=(greeting)
sha256sums=(SKIP)
build() { grep -E '^(Cap|NoNewPrivs)' /proc/self/status; id -un; echo "interfaces:" /sys/class/net/*; getent hosts localhost; ls /var/run/docker.sock || ulimit -Hn; true; }
package() { install -Dm644 "$srcdir/greeting" "$pkgdir/usr/share/foo/greeting"; }
`, "greeting", "hello\n")
	r.SourceDateEpoch = 1704067200
	result, log, err := b.run(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Packages) != 1 || result.Packages[0].File.String() != "foo-1.0-1-any.pkg.tar.zst" {
		t.Fatalf("packages: %v", result.Packages)
	}
	p := result.Packages[0]
	if p.Info.Packager != r.Packager || p.Info.BuildDate != r.SourceDateEpoch || p.Build.BuildDir != "/build" || p.Build.StartDir != "/startdir" {
		t.Errorf("package: %+v %+v", p.Info, p.Build)
	}
	if !strings.HasPrefix(result.Image, "sha256:") {
		t.Errorf("image = %q", result.Image)
	}
	for _, want := range []string{
		"==> [prepare] ", "==> [build] ", "==> [collect] ",
		"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t00000000000400cb", "NoNewPrivs:\t1",
		"\nbuild\n", "interfaces: /sys/class/net/lo\n", " localhost\n", "No such file or directory", "\n16384\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log", want)
		}
	}
}

// A hostile PKGBUILD ends with the right cause, and leaves nothing.
func TestHostile(t *testing.T) {
	for _, c := range []struct {
		name, text string
		change     func(*Recipe)
		want       Cause
		text2      string
	}{
		{name: "fork bomb", text: `build() { bomb() { bomb | bomb & }; bomb; wait; sleep 1000; }`, want: CausePids},
		{name: "memory", text: `build() { tail /dev/zero; }`, want: CauseMemory},
		{name: "tmp is bounded", text: `build() { head -c 100M /dev/zero >/tmp/full; }`, want: CauseCompile},
		{name: "one big file", text: `build() { head -c 2G /dev/zero >full; }`, want: CauseDisk},
		{name: "many files", text: `build() { for i in {1..1000}; do head -c 20M /dev/zero >$i; done; }`, want: CauseDisk},
		{name: "endless log", text: `build() { yes; }`, want: CauseLog, change: func(r *Recipe) { r.Limits.Output = 16 << 20 }},
		{name: "endless line", text: `build() { tr '\0' x </dev/zero; }`, want: CauseLog, change: func(r *Recipe) { r.Limits.Output = 16 << 20 }},
		{name: "silence", text: `build() { sleep 1000; }`, want: CauseSilence, change: func(r *Recipe) { r.Limits.Silence = 2 * time.Second }},
		{name: "timeout", text: `build() { while :; do echo; sleep 0.2; done; }`, want: CauseTimeout, change: func(r *Recipe) { r.Limits.Timeout = 3 * time.Second }},
		{name: "network", text: `build() { curl -m 5 http://1.1.1.1; }`, want: CauseCompile},
		{name: "undeclared download", text: `source=(http://192.0.2.1/x); sha256sums=(SKIP)`, want: CauseSources},
		{name: "build fails", text: `build() { false; }`, want: CauseCompile, text2: "A failure occurred in build()."},
		{name: "check fails", text: `check() { false; }`, want: CauseCompile},
		{name: "package fails", text: `package() { false; }`, want: CausePackage},
		{name: "no package", text: `build() { kill -KILL $PPID; }`, want: CauseCompile},
		{name: "exits with ours", text: `exit 97`, want: CauseCompile},
		{name: "no output", text: `exit 0`, want: CausePackage, text2: "output: no package foo"},
		{name: "syntax", text: `(`, want: CausePackage},
		{name: "checksum", text: "source=(f)\nsha256sums=(0000000000000000000000000000000000000000000000000000000000000000)", want: CauseChecksum},
		{name: "missing source", text: "source=(nowhere)\nsha256sums=(SKIP)", want: CauseSources},
		{name: "missing dependency", text: "depends=(nowhere)", want: CauseDependency, text2: "Could not resolve all dependencies."},
		{name: "unknown dependency", text: "depends=(nowhere)", want: CauseDependency, text2: "pacman: no repository has nowhere>=2", change: func(r *Recipe) { r.Depends = []string{"nowhere>=2"}; r.Network = NetworkNone }},
		{name: "output link", text: `build() { ln -s /etc/passwd /pkgdest/foo-debug-1.0-1-any.pkg.tar.zst; }`, want: CausePackage},
		{name: "output fifo", text: `package() { mkdir -p $pkgdir; mkfifo /pkgdest/foo-2-1-any.pkg.tar.zst; }`, want: CausePackage},
		{name: "output hard link", text: `build() { echo >/pkgdest/a; ln /pkgdest/a /pkgdest/b; }`, want: CausePackage},
		{name: "other name", text: `pkgname=bash`, want: CausePackage, text2: "none of this PKGBUILD's packages"},
		{name: "other base", text: `pkgbase=bash`, want: CausePackage, text2: `package base "bash"`},
		{name: "other arch", text: `arch=(x86_64)`, want: CausePackage, change: func(r *Recipe) { r.Arch = "aarch64"; r.Packages = []string{"foo"} }},
		{name: "no archive", text: `build() { echo > /pkgdest/foo-debug-1.0-1-any.pkg.tar.zst; }`, want: CausePackage},
		{name: "huge sparse output", text: `build() { truncate -s 200M /pkgdest/foo-debug-1.0-1-any.pkg.tar.zst; }`, want: CausePackage, change: func(r *Recipe) { r.Limits.Package = 1 << 20 }},
		{name: "destination gone", text: `build() { chmod 0 /pkgdest; }`, want: CausePackage},
		{name: "hostile dependency", text: ``, want: CauseDependency, change: func(r *Recipe) { r.Depends = []string{"--root=/"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := recipe(t, c.text, "f", "x")
			r.Job = "hostile-" + strings.ReplaceAll(c.name, " ", "-")
			if c.change != nil {
				c.change(&r)
			}
			start := time.Now()
			_, _, err := b.run(t, r)
			var f *Failure
			if !errors.As(err, &f) || f.Cause != c.want || !strings.Contains(f.Text, cmp.Or(c.text2, " ")) {
				t.Errorf("error = %v, want %s: %s", err, c.want, c.text2)
			}
			t.Logf("%v  %.1fs", err, time.Since(start).Seconds())
		})
	}
}

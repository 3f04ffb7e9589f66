package build

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const trivial = `package() { install -Dm755 /dev/stdin "$pkgdir/usr/bin/foo" <<< 'echo hello'; }`

// BenchmarkOverhead builds a trivial package with the host's makepkg and in the
// sandbox, in turn, and reports the one's time by the other's: at most 1.4.
func BenchmarkOverhead(b *testing.B) {
	s := newBench(b)
	var host, sandbox time.Duration
	for b.Loop() {
		r := recipe(b, trivial)
		start := time.Now()
		onHost(b, r)
		host += time.Since(start)
		start = time.Now()
		var log bytes.Buffer
		if _, err := s.Run(b.Context(), r, &log, nil); err != nil {
			b.Fatalf("%v\n%s", err, log.Bytes())
		}
		sandbox += time.Since(start)
	}
	b.ReportMetric(float64(sandbox)/float64(host), "times-host")
	b.ReportMetric(float64(host.Milliseconds())/float64(b.N), "host-ms")
	b.ReportMetric(float64(sandbox.Milliseconds())/float64(b.N), "sandbox-ms")
}

// onHost runs makepkg as one would without a sandbox, but not as root.
func onHost(b *testing.B, r Recipe) {
	dir, err := os.MkdirTemp("", "onhost") // T's own is for its user only
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "tree"), os.DirFS(r.Tree)); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("makepkg", "--force", "--holdver", "--noconfirm")
	cmd.Dir = filepath.Join(dir, "tree")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PKGEXT=.pkg.tar.zst", "LC_ALL=C.UTF-8", "BUILDDIR=" + dir, "PKGDEST=" + dir}
	asNobody(b, cmd, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("makepkg: %v\n%s", err, out)
	}
}

// asNobody gives the directory away if this is root, whom makepkg refuses.
func asNobody(b *testing.B, cmd *exec.Cmd, dir string) {
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
	if err != nil {
		b.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

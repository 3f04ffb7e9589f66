// Package makepkg builds packages with Arch's own tools: Build runs the real
// makepkg, Pack only its last step, with the real bsdtar, for when many packages
// are wanted or a wrong one is. Nothing of serene is used, so what comes out can
// judge it.
package makepkg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// conf is all of makepkg.conf, so that a build does not depend on the machine's.
const conf = `
CARCH="x86_64"
CHOST="x86_64-pc-linux-gnu"
BUILDENV=(!distcc !color !ccache !check !sign)
OPTIONS=(!strip docs libtool staticlibs emptydirs !zipman !purge !debug !lto)
INTEGRITY_CHECK=(sha256)
DLAGENTS=('file::/usr/bin/curl -gqC - -o %%o %%u')
COMPRESSZST=(zstd -c -q -)
COMPRESSXZ=(xz -c -z -)
COMPRESSGZ=(gzip -c -f -n)
PKGEXT="${PKGEXT:-.pkg.tar.zst}"
SRCEXT=".src.tar.gz"
PACKAGER="Serene Tests <tests@example.org>"
PKGDEST=%[1]q
SRCDEST=%[1]q
BUILDDIR=%[1]q
`

// nobody is who builds when root asks: makepkg refuses root.
const nobody = 65534

// Build runs makepkg on the PKGBUILD in dir, moves the packages into dest and
// returns their paths. dir is not written to. env (KEY=value) is added to the
// few variables that makepkg is given. On failure the error holds its output.
func Build(ctx context.Context, dir, dest string, env ...string) ([]string, error) {
	// Not below dest: nobody may not be able to walk there.
	work, err := os.MkdirTemp("", "makepkg")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	start := filepath.Join(work, "start")
	if err := os.CopyFS(start, os.DirFS(dir)); err != nil {
		return nil, err
	}
	config := filepath.Join(work, "makepkg.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, conf, work), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "makepkg", "--config", config, "--nodeps", "--force", "--noconfirm")
	cmd.Dir = start
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + work, "LANG=C.UTF-8", "TMPDIR=" + work}, env...)
	if os.Getuid() == 0 {
		if err := giveAway(work); err != nil {
			return nil, err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("makepkg %s: %w\n%s", dir, err, out)
	}
	return collect(work, dest)
}

// giveAway makes nobody the owner of everything at and below dir.
func giveAway(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
}

func collect(from, dest string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(from, "*.pkg.tar*"))
	if err != nil {
		return nil, err
	}
	var moved []string
	for _, path := range found {
		b, err := os.ReadFile(path) // small; a rename might cross file systems
		if err != nil {
			return nil, err
		}
		to := filepath.Join(dest, filepath.Base(path))
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return nil, err
		}
		moved = append(moved, to)
	}
	if len(moved) == 0 {
		return nil, fmt.Errorf("makepkg made no package: %s", strings.Join(found, " "))
	}
	return moved, nil
}

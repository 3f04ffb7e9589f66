package aurtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// nobody is who runs makepkg when root asks: it refuses root.
const nobody = 65534

// PrintSrcInfo has the real makepkg print the .SRCINFO of a package, which runs
// its PKGBUILD on this machine: for packages that the caller wrote only.
func PrintSrcInfo(ctx context.Context, p Package) (string, error) {
	dir, err := os.MkdirTemp("", "aurtest")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for name, text := range p.Files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "makepkg", "--printsrcinfo")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C.UTF-8", "BUILDDIR=" + dir, "PKGDEST=" + dir, "SRCDEST=" + dir}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return "", err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("makepkg --printsrcinfo: %w: %s", err, out)
	}
	return string(out), nil
}

package makepkg

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const pkgbuild = `
pkgname=hello
pkgver=1.0
pkgrel=1
pkgdesc="says hello"
arch=(any)
license=(MIT)
package() { install -Dm755 /dev/stdin "$pkgdir/usr/bin/hello" <<< '#!/bin/sh
echo hello'; }
`

func TestBuild(t *testing.T) {
	dir, dest := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "PKGBUILD"), []byte(pkgbuild), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := Build(t.Context(), dir, dest)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || filepath.Base(files[0]) != "hello-1.0-1-any.pkg.tar.zst" {
		t.Fatalf("files = %v", files)
	}
	query(t, files[0], "Name            : hello", "hello /usr/bin/hello")
}

func TestPack(t *testing.T) {
	for _, ext := range []string{".pkg.tar.zst", ".pkg.tar.xz", ".pkg.tar.gz", ".pkg.tar"} {
		tree := &Tree{Dir: t.TempDir(), Name: "foo", Version: "1-1", Fields: map[string][]string{"depend": {"bar", "baz>=2"}}}
		bin := filepath.Join(tree.Dir, "usr/bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "foo"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), tree.FileName(ext))
		for _, err := range []error{tree.Metadata(), tree.MTree(t.Context()), tree.Pack(t.Context(), out)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		query(t, out, "Depends On      : bar  baz>=2", "foo /usr/bin/foo")
	}
}

// query has the real pacman read the package and looks for lines in its answer.
func query(t *testing.T, file string, want ...string) {
	t.Helper()
	out, err := exec.Command("pacman", "-Qilp", file).CombinedOutput()
	if err != nil {
		t.Fatalf("pacman -Qilp %s: %v\n%s", file, err, out)
	}
	for _, line := range want {
		if !strings.Contains(string(out), line) {
			t.Errorf("%s: no %q in:\n%s", filepath.Base(file), line, out)
		}
	}
}

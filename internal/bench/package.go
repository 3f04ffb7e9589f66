package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"serene/internal/dev/makepkg"
)

// makePackage packs mib MiB that do not compress, as version n.
func (s *site) makePackage(ctx context.Context, n, mib int) (path string, err error) {
	dir, err := os.MkdirTemp(s.dir, "tree")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	tree := &makepkg.Tree{Dir: dir, Name: "big", Version: strconv.Itoa(n) + "-1"}
	if err := writeNoise(filepath.Join(dir, "data"), n, mib); err != nil {
		return "", err
	}
	if err := tree.Metadata(); err != nil {
		return "", err
	}
	if err := tree.MTree(ctx); err != nil {
		return "", err
	}
	path = filepath.Join(s.dir, tree.FileName(".pkg.tar.zst"))
	return path, tree.Pack(ctx, path)
}

func writeNoise(path string, seed, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.CopyN(w, noise, int64(mib)<<20); err != nil {
		f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

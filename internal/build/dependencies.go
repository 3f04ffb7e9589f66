package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dependencies installs, as root, what the image does not have.
func (b *run) dependencies(ctx context.Context) error {
	if len(b.Depends) == 0 {
		return nil
	}
	if err := b.enter("dependencies", "pacman, for %s", strings.Join(b.Depends, " ")); err != nil {
		return err
	}
	code, err := b.install(ctx)
	if err == nil && code == exitDamaged {
		if err := b.leaveCache(ctx); err != nil {
			return err
		}
		code, err = b.install(ctx)
	}
	if err != nil || code == 0 {
		return err
	}
	switch code {
	case 90:
		return fmt.Errorf("dependencies: the repository %s cannot be set up", b.RepoName)
	case 91:
		return fmt.Errorf("dependencies: a repository cannot be read")
	case 92:
		return fmt.Errorf("dependencies: a package cannot be downloaded")
	}
	_, reason := b.out.errors()
	return b.failed(ctx, ending{code: 8, message: "pacman: " + reason})
}

// What pacman.sh exits with, of what it can go on from.
const (
	exitDamaged = 94
	exitFetched = 95
)

// install downloads and installs. With a cache, what was downloaded is taken out
// of the container in between: nothing of a package has run there yet, neither an
// install script, which may come from anybody's PKGBUILD, nor this one's.
func (b *run) install(ctx context.Context) (int, error) {
	if b.cache == nil {
		return b.pacman(ctx, "all")
	}
	code, err := b.pacman(ctx, "get")
	if err != nil || code != exitFetched {
		return code, err
	}
	if err := b.keepDownloads(ctx); err != nil {
		b.sandbox.log.Warn("downloads are not kept", "job", b.Job, "err", err)
	}
	return b.pacman(ctx, "install")
}

func (b *run) pacman(ctx context.Context, step string) (int, error) {
	reach, repo := "net", ""
	if b.Network == NetworkNone {
		reach = "local"
	}
	if b.LocalRepo != "" {
		repo = b.RepoName
	}
	return b.exec(ctx, "root", pacmanScript, append([]string{step, reach, repo}, b.Depends...)...)
}

// keepDownloads leaves out what is from the local repository: others have other
// packages of these names.
func (b *run) keepDownloads(ctx context.Context) error {
	r, err := b.sandbox.engine.Get(ctx, b.c, downloads)
	if err != nil {
		return err
	}
	defer r.Close()
	return b.cache.keep(ctx, r, func(file string) bool {
		if b.LocalRepo == "" {
			return false
		}
		_, err := os.Lstat(filepath.Join(b.LocalRepo, file))
		return !errors.Is(err, fs.ErrNotExist)
	})
}

// leaveCache has the rest of the run do without the cache, and drops what pacman
// has found in it that is no good.
func (b *run) leaveCache(ctx context.Context) error {
	list, err := getFile(ctx, b.sandbox.engine, b.c, damaged, maxNames)
	if err != nil {
		return err
	}
	files := readNames(bytes.NewReader(list))
	if err := b.cache.drop(files); err != nil {
		b.sandbox.log.Warn("damaged packages are not dropped", "job", b.Job, "err", err)
	}
	b.cache = nil
	_, err = fmt.Fprintf(b.out, "  -> once more without the cache; damaged there: %s\n", strings.Join(files, " "))
	return err
}

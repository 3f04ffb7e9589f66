package repo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"serene/internal/alpm"
)

// The architecture directory is also a repository for file:// URLs, rsync and
// web servers that know nothing of generations: every name pacman asks for is
// a symbolic link in it, the databases' through current, so that one rename
// switches all of them.

// mirrorDatabases links the database names of p. They never change again.
func (s *Store) mirrorDatabases(p place) error {
	for _, h := range []half{dbHalf, filesHalf} {
		file := p.repo + h.suffix()
		for _, name := range []string{file, file + ".tar.zst"} {
			err := errors.Join(
				s.link(p, filepath.Join("current", file), name),
				s.link(p, filepath.Join("current", file+".sig"), name+".sig"))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// mirrorPackage links a package and its signature. The caller syncs.
func (s *Store) mirrorPackage(p place, e *alpm.Entry) error {
	target := filepath.Join("..", "pool", e.FileName)
	return errors.Join(s.link(p, target, e.FileName), s.link(p, target+".sig", e.FileName+".sig"))
}

func (s *Store) link(p place, target, name string) error {
	err := os.Symlink(target, filepath.Join(s.archDir(p), name))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

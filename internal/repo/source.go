package repo

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// source is a directory to import from.
type source struct {
	dir  string
	bare bool // what is not a regular file in it is refused
}

// open opens a file of the source, never waiting for a pipe's other end.
func (src source) open(file string) (*os.File, fs.FileInfo, error) {
	flags := os.O_RDONLY | unix.O_NONBLOCK
	if src.bare {
		flags |= unix.O_NOFOLLOW
	}
	f, err := os.OpenFile(filepath.Join(src.dir, file), flags, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = refuse(ErrContent, "not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// packageFiles lists the packages in dir, of which symbolic links may lead
// elsewhere, as in a repository with a pool.
func packageFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.Contains(e.Name(), ".pkg.tar") && !strings.HasSuffix(e.Name(), ".sig") {
			files = append(files, e.Name())
		}
	}
	if len(files) == 0 {
		return nil, refuse(ErrNotFound, "there are no packages in %s", dir)
	}
	return files, nil
}

// bound is a reader that ends with ctx.
type bound struct {
	ctx context.Context
	r   io.Reader
}

func (b bound) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	return b.r.Read(p)
}

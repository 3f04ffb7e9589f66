package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Prune removes the repositories that were last fetched from before a time. One
// that is in use stays. After an error it goes on with the others.
func (f *Fetcher) Prune(before time.Time) (removed int, err error) {
	entries, err := os.ReadDir(f.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		gone, failed := f.prune(filepath.Join(f.Cache, e.Name()), before)
		if gone {
			removed++
		}
		err = errors.Join(err, failed)
	}
	return removed, err
}

// prune need not be done in one go: Fetch makes anew what it finds damaged.
func (f *Fetcher) prune(dir string, before time.Time) (gone bool, err error) {
	release, _ := f.take(dir)
	if release == nil {
		return false, nil
	}
	defer release()
	st, err := os.Stat(dir)
	if err != nil || !st.ModTime().Before(before) {
		return false, err
	}
	return true, os.RemoveAll(dir)
}

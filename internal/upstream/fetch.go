package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"serene/internal/durable"
)

// Limits of a fetch. pacman itself takes no database above maxDatabase.
const (
	maxDatabase  = 128 << 20
	fetchTimeout = 5 * time.Minute
	retryAfter   = 5 * time.Minute // a failure, if that is sooner than the next time
)

func newClient() *http.Client {
	return &http.Client{Timeout: fetchTimeout}
}

// copyName is the file name of the copy of what is at url.
func copyName(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:8]) + ".db"
}

// Run asks for news of every database at once and then every so often, until
// ctx ends.
func (s *Set) Run(ctx context.Context) {
	if len(s.all) == 0 {
		return
	}
	for {
		wait := s.opt.Every
		if !s.refresh(ctx) {
			wait = min(wait, retryAfter)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// refresh asks for news of every database, and reports whether all answered.
func (s *Set) refresh(ctx context.Context) bool {
	whole := true
	for _, db := range s.all {
		fetched, err := s.fetch(ctx, db)
		if ctx.Err() != nil {
			return false
		}
		if err == nil && fetched {
			err = s.load(db)
		}
		if err != nil {
			whole = false
			s.opt.Log.Warn("upstream database not refreshed", "url", db.url, "err", err)
		}
	}
	s.noteStatus(s.writeStatus())
	return whole
}

// fetch replaces the copy of db if there is a newer one upstream, and reports
// whether there was.
func (s *Set) fetch(ctx context.Context, db *database) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, db.url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "serene")
	st, err := os.Stat(db.file)
	if err == nil {
		req.Header.Set("If-Modified-Since", st.ModTime().UTC().Format(http.TimeFormat))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return false, nil
	case http.StatusOK:
		return true, s.replace(db, resp)
	}
	return false, fmt.Errorf("the server says %s", resp.Status)
}

// replace takes the answer for the copy of db, once it has proved to be a whole
// database.
func (s *Set) replace(db *database, resp *http.Response) error {
	aside, err := os.CreateTemp(filepath.Dir(db.file), ".aside-*")
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	defer aside.Close()
	n, err := io.Copy(aside, io.LimitReader(resp.Body, maxDatabase+1))
	if err != nil {
		return err
	}
	if n > maxDatabase {
		return fmt.Errorf("more than %d bytes", maxDatabase)
	}
	if _, err := aside.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := readIndex(aside); err != nil {
		return err
	}
	if at, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		if err := os.Chtimes(aside.Name(), at, at); err != nil {
			return err
		}
	}
	if err := errors.Join(aside.Chmod(0o660), durable.Sync(aside)); err != nil {
		return err
	}
	return durable.Rename(aside.Name(), db.file)
}

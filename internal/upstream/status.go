package upstream

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"serene/internal/durable"
)

// Status is what is known of one upstream database.
type Status struct {
	URL      string    `json:"url"`
	Arch     string    `json:"arch"`
	Known    bool      `json:"known"` // it is at hand
	Packages int       `json:"packages"`
	Modified time.Time `json:"modified,omitzero"` // upstream's time of the copy
}

func statusFile(dir string) string { return filepath.Join(dir, "status.json") }

// writeStatus leaves the status of every database for other processes.
func (s *Set) writeStatus() error {
	all := []Status{}
	s.mu.RLock()
	for _, db := range s.all {
		st := Status{URL: db.url, Arch: db.arch}
		if i := s.index[db]; i != nil {
			st.Known, st.Packages = true, len(i.versions)
			if info, err := os.Stat(db.file); err == nil {
				st.Modified = info.ModTime().UTC()
			}
		}
		all = append(all, st)
	}
	s.mu.RUnlock()
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return durable.WriteFile(statusFile(s.opt.Dir), append(data, '\n'), 0o660)
}

func removeStatus(dir string) error {
	if _, err := os.Lstat(statusFile(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil // a disk that is read only would refuse to remove even that
	}
	return os.Remove(statusFile(dir))
}

// noteStatus takes the error of writing the status, which is for people to read
// and keeps nothing from going on.
func (s *Set) noteStatus(err error) {
	if err != nil {
		s.opt.Log.Warn("upstream status not written", "err", err)
	}
}

// ReadStatus lists the databases that a Set in dir follows, none where there is
// no Set.
func ReadStatus(dir string) ([]Status, error) {
	data, err := os.ReadFile(statusFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Status
	return all, json.Unmarshal(data, &all)
}

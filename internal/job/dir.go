package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"serene/internal/durable"
)

const (
	recordFile = "build.json"
	logFile    = "log"
	sourceFile = "source.tar"
)

// Dir is the directory builds/ of a state directory: what outlives restarts.
// Anyone may read it; only the hub writes records and logs.
type Dir struct {
	path string
	bell *bell // nil but in the hub's process
}

// OpenDir returns the Dir of the state directory, made if it is missing.
func OpenDir(state string) (*Dir, error) {
	d := &Dir{path: filepath.Join(state, "builds")}
	return d, durable.MkdirAll(d.path, 0o770)
}

// OpenHubDir is OpenDir for the hub, which rings for whatever it writes. Who
// follows a job by the same Dir hears of it at once.
func OpenHubDir(state string) (*Dir, error) {
	d, err := OpenDir(state)
	d.bell = &bell{next: make(map[ID]chan struct{})}
	return d, err
}

// Ring says that more is known of a job, or was printed by it.
func (d *Dir) Ring(id ID) { d.bell.ring(id) }

func (d *Dir) file(id ID, name string) string { return filepath.Join(d.path, string(id), name) }

// LogFile is where the output of a job is.
func (d *Dir) LogFile(id ID) string { return d.file(id, logFile) }

// SourceFile is where the tar of a job with SourceTar is.
func (d *Dir) SourceFile(id ID) string { return d.file(id, sourceFile) }

// Read returns the record of a job, or ErrNotFound.
func (d *Dir) Read(id ID) (*Record, error) {
	data, err := os.ReadFile(d.file(id, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Refuse(ErrNotFound, "no job %s", id)
	}
	if err != nil {
		return nil, err
	}
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	return r, nil
}

// List returns every record, the oldest first. A record that cannot be read is
// left out and its error joined to the others.
func (d *Dir) List() ([]*Record, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var all []*Record
	var failed []error
	for _, e := range entries {
		id, err := ParseID(e.Name())
		if err != nil {
			continue
		}
		switch r, err := d.Read(id); {
		case err == nil:
			all = append(all, r)
		case !errors.Is(err, ErrNotFound): // else one being made, or left by a crash
			failed = append(failed, err)
		}
	}
	slices.SortStableFunc(all, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	return all, errors.Join(failed...)
}

// Write stores a record, atomically and durably, in the job's directory, which
// is made if it is missing.
func (d *Dir) Write(r *Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(d.file(r.ID, recordFile)), 0o770); err != nil {
		return err
	}
	return durable.WriteFile(d.file(r.ID, recordFile), append(data, '\n'), 0o660)
}

// AddSource stores the tar of a job that is yet to be submitted, of at most
// limit bytes, and returns its digest in lower hex. A client killed while
// sending looks like one that is done: who reads the tar checks its end.
func (d *Dir) AddSource(id ID, r io.Reader, limit int64) (string, error) {
	if err := durable.MkdirAll(filepath.Join(d.path, string(id)), 0o770); err != nil {
		return "", err
	}
	f, err := os.OpenFile(d.SourceFile(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = Refuse(ErrTooLarge, "more than %d bytes", limit)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, d.Drop(id))
	}
	return hex.EncodeToString(sum.Sum(nil)), durable.SyncDir(filepath.Join(d.path, string(id)))
}

// Remove removes all there is of a job that is over. Its record goes first: from
// then on the job is not there, and what a crash leaves of it is swept.
func (d *Dir) Remove(id ID) error {
	if err := os.Remove(d.file(id, recordFile)); err != nil {
		return err
	}
	return d.Drop(id)
}

// Drop removes what is there of a job that has no record.
func (d *Dir) Drop(id ID) error {
	if _, err := os.Lstat(d.file(id, recordFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(filepath.Join(d.path, string(id)))
}

// Sweep drops what has no record and was not written to for an hour: sources
// whose sender never came to submit them, and what is left of removed jobs.
func (d *Dir) Sweep(now time.Time) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		if id, err := ParseID(e.Name()); err == nil && now.Sub(d.written(id)) >= time.Hour {
			failed = append(failed, d.Drop(id))
		}
	}
	return errors.Join(failed...)
}

// written is when files of a job were last made or removed, or its source was
// written to.
func (d *Dir) written(id ID) (last time.Time) {
	for _, file := range []string{"", sourceFile} {
		if st, err := os.Stat(d.file(id, file)); err == nil && st.ModTime().After(last) {
			last = st.ModTime()
		}
	}
	return last
}

// LogSHA256 is the digest, in lower hex, of a job's log as it is now, which is
// its first size bytes later.
func (d *Dir) LogSHA256(id ID) (digest string, size int64, err error) {
	f, err := os.Open(d.LogFile(id))
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

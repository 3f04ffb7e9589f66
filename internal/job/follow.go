package job

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// How often a follower looks for more output. Where no bell rings for it, that
// is a look at two files: cheaper than a watcher each, of which a user has but
// 128. Where one does, this is only in case.
const (
	followEvery = 50 * time.Millisecond
	followSlow  = time.Second
)

// Follow copies the log of a job to w as it grows, until the job is over and
// all of it is written, or ctx ends. It reads the file alone, so however slow w
// is, the job never waits for it. It returns the record as it was last.
func (d *Dir) Follow(ctx context.Context, id ID, w io.Writer) (*Record, error) {
	every := followEvery
	if d.bell != nil {
		every = followSlow
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer d.bell.ring(id) // nothing stays behind; who else follows looks once in vain
	for at := int64(0); ; {
		more := d.bell.wait(id) // before the look: nothing is missed
		r, err := d.Read(id)    // first: what is final has its whole log
		if err != nil {
			return nil, err
		}
		if at, err = d.CopyLog(id, w, at); err != nil {
			return nil, err
		}
		if r.State.Final() {
			return r, nil
		}
		select {
		case <-more:
		case <-tick.C:
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
	}
}

// CopyLog writes what the log of a job has from the offset at on, and returns
// where it ends now. A log that has become shorter is begun again.
func (d *Dir) CopyLog(id ID, w io.Writer, at int64) (int64, error) {
	f, err := os.Open(d.LogFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil // nothing was printed yet
	}
	if err != nil {
		return at, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return at, err
	}
	if st.Size() < at {
		at = 0
	}
	n, err := io.Copy(w, io.NewSectionReader(f, at, st.Size()-at))
	return at + n, err
}

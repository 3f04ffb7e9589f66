package serve

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/repo"
)

// lateWriter is a writer that need not be open: where the state cannot be
// written at the start, what is published is served all the same, and every
// refresh tries again to open it.
type lateWriter struct {
	open func() (*repo.Writer, error)
	log  *slog.Logger
	w    *repo.Writer // nil until it is open
}

// start opens the writer if it can. That the state cannot be written is logged,
// and no error.
func (l *lateWriter) start() error {
	err := l.ready()
	if !cannotWrite(err) {
		return err
	}
	l.log.Error("the state cannot be written: serving what is published, read only, until it can", "err", err)
	return nil
}

// cannotWrite reports whether err says that the file system takes nothing now,
// which whoever runs the machine may change.
func cannotWrite(err error) bool {
	for _, reason := range []error{unix.EROFS, unix.ENOSPC, unix.EDQUOT, fs.ErrPermission} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

func (l *lateWriter) ready() (err error) {
	if l.w == nil {
		l.w, err = l.open()
	}
	return err
}

func (l *lateWriter) Refresh(ctx context.Context) (int, error) {
	if err := l.ready(); err != nil {
		return 0, err
	}
	return l.w.Refresh(ctx)
}

func (l *lateWriter) Collect(now time.Time, keep repo.Keep) ([]repo.Garbage, error) {
	if err := l.ready(); err != nil {
		return nil, err
	}
	return l.w.Collect(now, keep)
}

func (l *lateWriter) Close() error {
	if l.w == nil {
		return nil
	}
	return l.w.Close()
}

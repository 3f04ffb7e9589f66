package repo

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// flushEvery is how many bytes of an upload are let gather in memory before
// the kernel is asked to begin writing them out, so that the fsync at its end
// finds little left to do. The free space is looked at as often.
const flushEvery = 32 << 20

// intake copies an upload to its file while it is read, within the limits.
type intake struct {
	ctx        context.Context
	src        io.Reader
	file       *os.File
	store      *Store
	n, flushed int64
}

func (in *intake) Read(b []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, context.Cause(in.ctx)
	}
	n, err := in.src.Read(b)
	if n > 0 {
		if werr := in.keep(b[:n]); werr != nil {
			return 0, werr
		}
	}
	return n, err
}

func (in *intake) keep(b []byte) error {
	in.n += int64(len(b))
	if limit := in.store.opt.MaxPackage; limit > 0 && in.n > limit {
		return refuse(ErrTooLarge, "more than max_package = %d bytes", limit)
	}
	if in.n-in.flushed >= flushEvery {
		if err := in.store.reserve(in.file, 0); err != nil {
			return err
		}
		// Only a hint: what it cannot do, the fsync at the end does.
		unix.SyncFileRange(int(in.file.Fd()), in.flushed, in.n-in.flushed, unix.SYNC_FILE_RANGE_WRITE)
		in.flushed = in.n
	}
	_, err := in.file.Write(b)
	return noSpace(err)
}

// reserve refuses when size more bytes on the file system of f would leave less
// than the state must keep free.
func (s *Store) reserve(f *os.File, size int64) error {
	least := s.opt.MinFree
	if least <= 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free-size < least {
		return refuse(ErrTooLarge, "no space: %d bytes free, min_free = %d must stay", free, least)
	}
	return nil
}

package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"serene/internal/job"
)

// A log is what all attempts have printed, one after the other, between lines
// of the hub. LogBase of the record is where the last attempt begins; where it
// ends is the end of the file. So a chunk that is sent twice is known.

// note writes a line of the hub. It must not be called while an attempt may
// print.
func (h *Hub) note(r *job.Record, text string) error {
	return h.print(r.ID, "==> [queue] "+text+"\n", false)
}

// conclude writes the line that ends a log, and has all of it on disk.
func (h *Hub) conclude(r *job.Record) error {
	return h.print(r.ID, r.Verdict()+"\n", true)
}

// print appends text as a line of its own.
func (h *Hub) print(id job.ID, text string, sync bool) error {
	f, size, err := h.openLog(id)
	if err != nil {
		return err
	}
	defer f.Close()
	if !endsLine(f, size) {
		text = "\n" + text
	}
	if _, err := f.WriteAt([]byte(text), size); err != nil {
		return err
	}
	if sync {
		return f.Sync()
	}
	return nil
}

func (h *Hub) openLog(id job.ID) (*os.File, int64, error) {
	f, err := os.OpenFile(h.dir.LogFile(id), os.O_RDWR|os.O_CREATE, 0o660)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// endsLine reports whether f, of that size, is empty or ends in a newline.
func endsLine(f *os.File, size int64) bool {
	last := make([]byte, 1)
	if size == 0 {
		return true
	}
	_, err := f.ReadAt(last, size-1)
	return err == nil && last[0] == '\n'
}

// beginLog makes the log ready for an attempt and returns where that begins.
// What earlier ones have printed stays while it is not too much.
func (h *Hub) beginLog(r *job.Record, heading string) (int64, error) {
	st, err := os.Stat(h.dir.LogFile(r.ID))
	if err == nil && st.Size() > h.opt.LogMax {
		err = os.Truncate(h.dir.LogFile(r.ID), 0)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if err := h.note(r, heading); err != nil {
		return 0, err
	}
	st, err = os.Stat(h.dir.LogFile(r.ID))
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// takeLog appends a part of what an attempt prints.
func (h *Hub) takeLog(key string, q job.Chunk) (job.Next, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := h.current(key, q.Run)
	if err != nil {
		return job.Next{}, err
	}
	if q.Offset < 0 || q.Offset+int64(len(q.Data)) > h.opt.LogMax+logSlack {
		return job.Next{}, job.Refuse(job.ErrTooLarge, "more than %d bytes of output", h.opt.LogMax)
	}
	f, size, err := h.openLog(r.ID)
	if err != nil {
		return job.Next{}, err
	}
	defer f.Close()
	if have := size - r.LogBase; q.Offset > have {
		// The machine went down before the file was on disk.
		if size, err = h.skip(r, f, size, q.Offset); err != nil {
			return job.Next{}, err
		}
	} else {
		q.Data = q.Data[min(have-q.Offset, int64(len(q.Data))):]
	}
	n, err := f.WriteAt(q.Data, size)
	if err != nil {
		return job.Next{}, errors.Join(err, f.Truncate(size))
	}
	h.dir.Ring(r.ID)
	return job.Next{Offset: size + int64(n) - h.jobs[r.ID].LogBase}, nil
}

// skip notes that output was lost, so that what is at offset comes next.
func (h *Hub) skip(old *job.Record, f *os.File, size, offset int64) (int64, error) {
	lost := offset - (size - old.LogBase)
	n, err := fmt.Fprintf(io.NewOffsetWriter(f, size), "\n==> [queue] %d bytes were lost\n", lost)
	if err != nil {
		return 0, err
	}
	size += int64(n)
	r := *old
	r.LogBase = size - offset
	return size, h.put(&r)
}

// content gives a part of a job's tar.
func (h *Hub) content(key string, q job.Chunk) (job.Chunk, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.current(key, q.Run); err != nil {
		return job.Chunk{}, err
	}
	f, err := os.Open(h.dir.SourceFile(q.Job))
	if err != nil {
		return job.Chunk{}, err
	}
	defer f.Close()
	q.Data = make([]byte, job.MaxChunk)
	n, err := f.ReadAt(q.Data, q.Offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	q.Data = q.Data[:n]
	return q, err
}

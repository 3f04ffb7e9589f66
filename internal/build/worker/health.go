package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"serene/internal/job"
)

const (
	// minDisk and minMemory are what must be free for a job to be taken.
	minDisk   = 1 << 30
	minMemory = 256 << 20
	// keepFor is how long packages that could not be published are kept.
	keepFor = 7 * 24 * time.Hour
)

// beats tells the hub every so often that this builder lives, until ctx ends.
// Where the hub does not hear of it any more, it takes the jobs to be lost: so
// they are stopped here before that.
func (w *Worker) beats(ctx context.Context) {
	every := w.opt.Lease / 12
	tick := time.NewTicker(every)
	defer tick.Stop()
	heard := time.Now()
	for known := false; ; {
		asked := time.Now()
		if err := w.beat(ctx, every*2); err == nil {
			heard = asked
			if !known {
				known = true
				close(w.started)
			}
		} else if time.Since(heard) > w.opt.Lease*5/6 {
			w.stopAll(errSilence)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Worker) beat(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	stop, err := w.bench.Beat(ctx, w.self())
	if err != nil {
		return err
	}
	for _, s := range stop {
		w.give(s)
	}
	for _, a := range w.running() {
		if err := a.task.InProgress(); err != nil {
			return err
		}
	}
	return nil
}

// self is what the hub is told of this builder.
func (w *Worker) self() job.Builder {
	b := job.Builder{
		ID: w.id, Instance: w.instance, Name: w.opt.Name,
		Arches: []string{w.opt.Arch}, Slots: w.opt.Slots, Load: load(),
	}
	for _, a := range w.running() {
		b.Jobs = append(b.Jobs, a.task.Run())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b.Note = w.note
	return b
}

// able reports whether a job can be taken, and takes note of why not.
func (w *Worker) able(ctx context.Context) bool {
	err := errors.Join(w.room(), w.box().Ready(ctx))
	note := ""
	if err != nil {
		note = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if note != w.note {
		w.opt.Log.Info("builder", "takes_jobs", note == "", "note", note)
	}
	w.note = note
	return err == nil
}

// room says what there is too little of.
func (w *Worker) room() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(w.dir, &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < minDisk {
		return fmt.Errorf("%d MiB of disk are free, %d are needed", free>>20, minDisk>>20)
	}
	if free, ok := availableMemory(); ok && free < minMemory {
		return fmt.Errorf("%d MiB of memory are free, %d are needed", free>>20, minMemory>>20)
	}
	return nil
}

// availableMemory is what /proc/meminfo says, in bytes.
func availableMemory() (int64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, true
		}
	}
	return 0, false
}

// load is the machine's, over a minute.
func load() (one float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Sscan(string(text), &one) // 0 where it does not say
	}
	return one
}

// lockFile makes this the only worker of its directory.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another serene-build works here: %w", err), f.Close())
	}
	return f, nil
}

// identity is the id in a file, which is made if it is missing.
func identity(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(strings.ToLower(string(job.NewID(time.Now()))))
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return "", err
	}
	id, err := job.ParseID(strings.TrimSpace(string(data)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(id), nil
}

// clean removes what an earlier run has left.
func (w *Worker) clean(now time.Time) error {
	if err := os.RemoveAll(w.path("jobs")); err != nil {
		return err
	}
	if err := os.Mkdir(w.path("jobs"), 0o700); err != nil {
		return err
	}
	kept, err := os.ReadDir(w.path("kept"))
	if err != nil {
		return err
	}
	for _, e := range kept {
		if st, err := e.Info(); err == nil && now.Sub(st.ModTime()) > keepFor {
			if err := os.RemoveAll(w.path("kept", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

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
	// keepFor is how long packages that could not be published are kept.
	keepFor = 7 * 24 * time.Hour
	// readyWithin is how long an engine may take to say that it is there.
	readyWithin = 10 * time.Second
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
	b.Lacks, b.Note = w.lack.of, w.lack.note
	return b
}

// lack is what keeps this builder from taking jobs, and how it stands with it.
type lack struct {
	of   job.Lack // "" for nothing
	note string
}

// able reports whether a job can be taken, and takes note of why not.
func (w *Worker) able(ctx context.Context) bool {
	now := w.lacking(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.of != w.lack.of {
		w.opt.Log.Info("builder", "takes_jobs", now.of == "", "lacks", now.of, "note", now.note)
	}
	w.lack = now
	return now.of == ""
}

func (w *Worker) lacking(ctx context.Context) lack {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if free, err := w.freeDisk(); err != nil {
		return lack{job.LacksDisk, err.Error()}
	} else if free < w.opt.Limits.MinFree {
		if err := w.box().DropDownloads(); err != nil {
			w.opt.Log.Warn("downloads are not removed", "err", err)
		}
		return tooLittle(job.LacksDisk, free, w.opt.Limits.MinFree)
	}
	if free, ok := availableMemory(); ok && free < w.opt.MinMemory {
		return tooLittle(job.LacksMemory, free, w.opt.MinMemory)
	}
	if err := w.box().Ready(ctx); err != nil {
		return lack{job.LacksEngine, oneLine(err.Error())}
	}
	return lack{}
}

func tooLittle(of job.Lack, free, needed int64) lack {
	return lack{of, fmt.Sprintf("%d MiB are free, %d are needed", free>>20, needed>>20)}
}

// freeDisk is the lesser of what the working directory and containers have.
func (w *Worker) freeDisk() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(w.dir, &fs); err != nil {
		return 0, err
	}
	free := int64(fs.Bavail) * fs.Bsize
	if engine := w.box().Free(); engine >= 0 {
		free = min(free, engine)
	}
	return free, nil
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
	return w.forgetKept(now)
}

// forgetKept removes packages that nobody has had published in time.
func (w *Worker) forgetKept(now time.Time) error {
	kept, err := os.ReadDir(w.path("kept"))
	for _, e := range kept {
		if st, gone := e.Info(); gone == nil && now.Sub(st.ModTime()) > keepFor {
			err = errors.Join(err, os.RemoveAll(w.path("kept", e.Name())))
		}
	}
	return err
}

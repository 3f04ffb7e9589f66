package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"serene/internal/build"
	"serene/internal/job"
)

const (
	exitBusy   = 7 // of a verb: nothing is wrong with what was asked
	pushTries  = 5 // answered with it
	pushWithin = 10 * time.Minute
	maxReceipt = 1 << 20
)

// publish pushes the packages in "out", as one transaction. If that fails they
// are kept.
func (a *attempt) publish() error {
	// What may be pushed has to be known to the hub before it is.
	if err := a.report(job.Report{Phase: "publish", Facts: a.facts}); err != nil {
		return err
	}
	err := a.push(filepath.Join(a.dir, "out"))
	if err == nil || a.ctx.Err() != nil {
		return err
	}
	if keeping := a.keep(); keeping != nil {
		a.opt.Log.Error("packages not kept", "job", a.task.ID, "err", keeping)
		return err
	}
	a.kept = true
	return err
}

// push sends all that lies in dir. Trouble of the way is not the package's: it
// is tried again, and the same bytes are no conflict. A hub that is gone is
// waited for, as its jobs are its own to give away.
func (a *attempt) push(dir string) error {
	argv := []string{"push", "-", "--repo", a.task.Repo, "--job", string(a.task.ID), "--attempt", strconv.FormatInt(a.task.Attempt, 10)}
	deadline := time.Now().Add(pushWithin)
	for busy := 0; ; {
		receipts := &limited{left: maxReceipt}
		err := a.pushOnce(dir, argv, receipts)
		if err == nil {
			a.told = strings.Split(strings.TrimSpace(receipts.String()), "\n")
			fmt.Fprintf(a.out, "%s", indent(receipts.Bytes())) // it is published, whoever hears of it
			return nil
		}
		fmt.Fprintf(a.out, "  -> push: %s\n", oneLine(err.Error()))
		var refused *Refusal
		switch answered := errors.As(err, &refused); {
		case answered && refused.Code != exitBusy:
			return failed(build.CausePackage, "push: %s", oneLine(refused.Reason))
		case answered:
			busy++
		}
		if busy == pushTries || time.Now().After(deadline) || !sleep(a.ctx, time.Duration(1+busy)*again) {
			return failed(build.CauseHost, "push: %s", oneLine(err.Error()))
		}
	}
}

func (a *attempt) pushOnce(dir string, argv []string, receipts io.Writer) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, dir)) }()
	defer r.Close()
	return a.opt.Hub.Run(a.ctx, argv, r, receipts)
}

// pack writes the files in dir as a tar.
func pack(w io.Writer, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := packFile(t, filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return t.Close()
}

func packFile(t *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: filepath.Base(path), Mode: 0o644, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// indent puts receipts under the heading of their phase.
func indent(lines []byte) []byte {
	return append([]byte("  -> "), append(bytes.ReplaceAll(bytes.TrimSpace(lines), []byte("\n"), []byte("\n  -> ")), '\n')...)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// keep moves the packages to where they wait for another try to publish them.
func (a *attempt) keep() error {
	kept := a.path("kept", string(a.task.ID))
	return errors.Join(os.RemoveAll(kept), os.Rename(filepath.Join(a.dir, "out"), kept))
}

// publishKept is the order to publish what was kept. It returns as soon as the
// attempt is on its way.
func (w *Worker) publishKept(r *job.Record) error {
	dir := w.path("kept", string(r.ID))
	if _, err := os.Stat(dir); err != nil {
		return job.Refuse(job.ErrNotFound, "its packages are not here any more")
	}
	a := w.begin(context.Background(), w.bench.Ordered(r))
	a.facts = r.Facts
	go func() {
		defer w.done(a)
		err := a.push(dir)
		if a.ctx.Err() != nil {
			err = context.Cause(a.ctx)
		}
		a.kept = err != nil
		if err == nil {
			err = os.RemoveAll(dir)
		}
		a.phases.end()
		if err := a.end(err); err != nil {
			w.opt.Log.Warn("the hub does not know how it ended", "job", r.ID, "err", err)
		}
		a.stop(nil)
	}()
	return nil
}

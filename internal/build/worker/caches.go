package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"time"

	"serene/internal/build"
)

// A volume with what builds of a package base keep has a file of its name in
// caches/, whose time is that of the last build that was given it: the engine
// knows only when a volume was made.

// pruneEvery is how often what was not used for long is removed.
const pruneEvery = 24 * time.Hour

// useCache names the volume for a kind of cache of a package base, and notes that
// it is used now. Two builders of one engine have volumes of their own, and so
// have two repositories; a hash, as engines refuse characters that a base may
// have.
func (w *Worker) useCache(kind, repo, base string) (volume string, err error) {
	sum := sha256.Sum256([]byte(w.id + "/" + repo + "/" + base))
	volume = "serene-" + kind + "-" + hex.EncodeToString(sum[:8])
	mark := w.path("caches", volume)
	now := time.Now()
	return volume, errors.Join(os.WriteFile(mark, nil, 0o600), os.Chtimes(mark, now, now))
}

// giveCaches lets the build have what earlier ones of its base have kept, unless
// it is to be a clean one.
func (a *attempt) giveCaches(r *build.Recipe) (err error) {
	if a.task.Options.Clean {
		return nil
	}
	if r.SourceCache, err = a.useCache("sources", a.task.Repo, r.Base); err != nil || !a.opt.CCache {
		return err
	}
	r.CompilerCache, err = a.useCache("ccache", a.task.Repo, r.Base)
	return err
}

// takeCaches removes what a build has had to keep that ran out of disk: it may
// be what fills it, and would do so again. What all builds share goes, too.
func (a *attempt) takeCaches(r *build.Recipe) {
	if err := a.box().DropDownloads(); err != nil {
		a.opt.Log.Warn("downloads are not removed", "job", a.task.ID, "err", err)
	}
	_, err := a.box().SweepCaches(a.ctx, func(volume string, _ time.Time) bool {
		return volume != r.SourceCache && volume != r.CompilerCache
	})
	if err != nil {
		a.opt.Log.Warn("caches are not removed", "job", a.task.ID, "err", err)
	}
}

// prunes removes what was not used for long, at once and then every so often.
func (w *Worker) prunes(ctx context.Context) {
	select {
	case <-w.prepared:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		if err := w.prune(ctx, time.Now().Add(-w.opt.KeepSources)); err != nil && ctx.Err() == nil {
			w.opt.Log.Warn("not all that is old is removed", "err", err)
		}
		sleep(ctx, pruneEvery)
	}
}

// prune removes the caches and repositories last used before a time, but for
// those in use.
func (w *Worker) prune(ctx context.Context, before time.Time) error {
	repositories, err1 := w.opt.Fetcher.Prune(before)
	volumes, err2 := w.box().SweepCaches(ctx, func(volume string, made time.Time) bool {
		if st, err := os.Stat(w.path("caches", volume)); err == nil {
			made = st.ModTime()
		}
		return !made.Before(before)
	})
	if repositories+volumes > 0 {
		w.opt.Log.Info("removed what was not used for long", "repositories", repositories, "volumes", volumes)
	}
	return errors.Join(err1, err2, w.forgetCaches(before), w.forgetKept(time.Now()))
}

// forgetCaches removes the notes of volumes that are gone by now. One that is not
// yet counts from when it was made, and so goes the next time.
func (w *Worker) forgetCaches(before time.Time) error {
	marks, err := os.ReadDir(w.path("caches"))
	for _, m := range marks {
		st, gone := m.Info()
		if gone != nil || !st.ModTime().Before(before) {
			continue
		}
		if failed := os.Remove(w.path("caches", m.Name())); !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

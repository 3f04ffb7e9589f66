package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fetcher fetches PKGBUILDs by git. It keeps a bare repository of each source in
// Cache, so that a commit that once was there stays until Prune, and gives out
// trees. Its methods may be called from several goroutines.
type Fetcher struct {
	Cache  string // directory; one bare repository per package base or URL
	Allow  Allow
	SSH    SSH
	Limits Limits

	mu   sync.Mutex
	busy map[string]chan struct{} // guarded by mu: repositories in use, closed when they are not
}

// SSH is how git speaks ssh: with this key to hosts that are known, or not at all.
type SSH struct {
	Identity   string // private key file; "" turns ssh off
	KnownHosts string
}

// Fetch brings the tree that ref names into dir, which it makes. What git says
// goes to log, if that is not nil. The context and the limit on time end
// everything it started. Of a fetch that fails nothing stays in dir.
func (f *Fetcher) Fetch(ctx context.Context, ref Ref, dir string, log io.Writer) (*Tree, error) {
	if err := ref.Check(f.Allow); err != nil {
		return nil, err
	}
	if strings.HasPrefix(ref.URL, "ssh:") && f.SSH.Identity == "" {
		return nil, errorf(ErrRefused, "%s: this builder has no key for git over ssh", ref.URL)
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("fetch %s: %s exists", ref.URL, dir)
	}
	if log == nil {
		log = io.Discard
	}
	lim := f.Limits.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, lim.Timeout, errorf(ErrUnavailable, "took longer than %s", lim.Timeout))
	defer cancel()
	r := &repository{dir: filepath.Join(f.Cache, cacheName(ref)), ref: ref, allow: f.Allow, ssh: f.SSH, lim: lim, log: log}
	release, err := f.acquire(ctx, r.dir)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", ref.URL, err)
	}
	defer release()
	t, err := r.tree(ctx, dir)
	if now := time.Now(); err == nil {
		err = os.Chtimes(r.dir, now, now) // Prune goes by it
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("fetch %s: %w", ref.URL, err)
	}
	return t, nil
}

// cacheName is a package base for the AUR. A base never begins with a dot, so
// other repositories stay out of their way.
func cacheName(ref Ref) string {
	if ref.Kind == KindAUR {
		return ref.Base
	}
	sum := sha256.Sum256([]byte(ref.URL))
	return ".url-" + hex.EncodeToString(sum[:16])
}

// acquire waits until nobody else uses the repository.
func (f *Fetcher) acquire(ctx context.Context, dir string) (release func(), err error) {
	for {
		release, other := f.take(dir)
		if release != nil {
			return release, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take is acquire without the wait: other is closed when whoever has it is done.
func (f *Fetcher) take(dir string) (release func(), other <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, taken := f.busy[dir]; taken {
		return nil, other
	}
	if f.busy == nil {
		f.busy = make(map[string]chan struct{})
	}
	mine := make(chan struct{})
	f.busy[dir] = mine
	return func() { f.free(dir, mine) }, nil
}

func (f *Fetcher) free(dir string, mine chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.busy, dir)
	close(mine)
}

// A repository is a bare one in the cache, for the time of one fetch.
type repository struct {
	dir   string
	ref   Ref
	allow Allow
	ssh   SSH
	lim   Limits
	log   io.Writer
}

func (r *repository) tree(ctx context.Context, dir string) (*Tree, error) {
	commit, err := r.update(ctx)
	if err != nil {
		return nil, err
	}
	when, err := r.time(ctx, commit)
	if err != nil {
		return nil, err
	}
	if err := r.export(ctx, commit, dir); err != nil {
		return nil, err
	}
	t, err := readTree(dir, r.ref.Base)
	if err != nil {
		return nil, err
	}
	t.URL, t.Commit, t.Time = r.ref.URL, commit, when
	return t, nil
}

// update fetches, and once more into a new repository if that fails in one that
// was there: a crash or a full disk may have left it unusable, or it has grown to
// its limit by what is no longer wanted.
func (r *repository) update(ctx context.Context) (commit string, err error) {
	if _, err := os.Stat(r.dir); err == nil {
		commit, err = r.fetch(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrNotFound) {
			return commit, err
		}
		fmt.Fprintf(r.log, "fetch into the repository kept here: %v; once more into a new one\n", err)
		if err := os.RemoveAll(r.dir); err != nil {
			return "", err
		}
	}
	commit, err = r.fetch(ctx)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(r.dir))
	}
	return commit, err
}

func (r *repository) fetch(ctx context.Context) (commit string, err error) {
	if err := os.MkdirAll(filepath.Dir(r.dir), 0o755); err != nil {
		return "", err
	}
	// No template: it would bring hooks.
	if _, err := r.git(ctx, "init", "--quiet", "--bare", "--template="); err != nil {
		return "", err
	}
	if r.ref.Commit == "" {
		return r.fetchTip(ctx)
	}
	return r.ref.Commit, r.fetchCommit(ctx)
}

func (r *repository) fetchTip(ctx context.Context) (commit string, err error) {
	from := "HEAD"
	if r.ref.Branch != "" {
		from = "refs/heads/" + r.ref.Branch
	}
	const tip = "refs/serene/tip"
	if err := r.fetchRef(ctx, 1, from+":"+tip); err != nil {
		return "", err
	}
	out, err := r.git(ctx, "rev-parse", "--verify", "--quiet", tip+"^{commit}")
	return strings.TrimSpace(out), err
}

// fetchCommit asks for the one commit. A server may refuse to give what no
// branch points at: then the history of the branch has to do.
func (r *repository) fetchCommit(ctx context.Context) error {
	if r.has(ctx, r.ref.Commit) {
		return nil
	}
	first := r.fetchRef(ctx, 1, r.ref.Commit+":refs/serene/"+r.ref.Commit)
	if first == nil || ctx.Err() != nil || errors.Is(first, ErrTooLarge) {
		return first
	}
	from := "HEAD:refs/serene/tip"
	if r.ref.Branch != "" {
		from = "refs/heads/" + r.ref.Branch + ":refs/serene/tip"
	}
	const whole = 1<<31 - 1 // git's word for an infinite depth
	if err := r.fetchRef(ctx, whole, from); err != nil {
		return err
	}
	if !r.has(ctx, r.ref.Commit) {
		return errorf(ErrNotFound, "there is no commit %s", r.ref.Commit)
	}
	return nil
}

func (r *repository) has(ctx context.Context, commit string) bool {
	_, err := r.git(ctx, "rev-parse", "--verify", "--quiet", commit+"^{tree}")
	return err == nil
}

func (r *repository) fetchRef(ctx context.Context, depth int, refspec string) error {
	_, err := r.git(ctx, "fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--no-recurse-submodules", "--depth="+strconv.Itoa(depth), "--", r.ref.URL, "+"+refspec)
	return err
}

// time reads the committer's line of a commit as data: git show would compare
// trees to no end, for an output it was told to leave out.
func (r *repository) time(ctx context.Context, commit string) (time.Time, error) {
	out, err := r.git(ctx, "cat-file", "commit", commit)
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "committer ") {
			continue
		}
		f := strings.Fields(line) // committer NAME <MAIL> SECONDS ZONE
		if seconds, err := strconv.ParseInt(f[max(0, len(f)-2)], 10, 64); err == nil {
			return time.Unix(seconds, 0).UTC(), nil
		}
		break
	}
	return time.Time{}, errorf(ErrRefused, "commit %s has no time", commit)
}

package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"serene/internal/alpm"
)

const (
	// maxDatabase bounds the repository's database as it is fetched.
	maxDatabase = 256 << 20
	// maxCache is how much the cache of the repository's packages may take.
	maxCache = 4 << 30

	exitNotFound = 2 // of a verb
)

// ownRepo is the repository that the job is for, as it was published when the
// attempt began.
type ownRepo struct {
	name, arch string
	db, sig    []byte
	entries    []*alpm.Entry
}

// fetchRepo brings the database and its signature. One that does not exist yet
// is empty.
func fetchRepo(ctx context.Context, hub Hub, name, arch string) (*ownRepo, error) {
	o := &ownRepo{name: name, arch: arch}
	path := name + "/" + arch + "/" + name + ".db"
	var before []byte
	for range 10 {
		var err error
		if before, err = pullPath(ctx, hub, path+".sig"); err == nil {
			o.db, err = pullPath(ctx, hub, path)
		}
		if err == nil {
			o.sig, err = pullPath(ctx, hub, path+".sig")
		}
		var refused *Refusal
		if errors.As(err, &refused) && refused.Code == exitNotFound {
			return &ownRepo{name: name, arch: arch}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", path, err)
		}
		if bytes.Equal(before, o.sig) { // else another generation came in between
			return o, o.read()
		}
	}
	return nil, fmt.Errorf("fetch %s: it changes all the time", path)
}

func (o *ownRepo) read() error {
	for m, err := range alpm.ReadDatabase(bytes.NewReader(o.db)) {
		if err != nil {
			return fmt.Errorf("%s.db: %w", o.name, err)
		}
		o.entries = append(o.entries, m.Entry)
	}
	return nil
}

func pullPath(ctx context.Context, hub Hub, path string) ([]byte, error) {
	out := &limited{left: maxDatabase}
	err := hub.Run(ctx, []string{"pull", "--path", path}, nil, out)
	return out.Bytes(), err
}

// fetchKey brings the armored key that the repository is signed with.
func fetchKey(ctx context.Context, hub Hub) ([]byte, error) {
	out := &limited{left: 1 << 20}
	err := hub.Run(ctx, []string{"key"}, nil, out)
	return out.Bytes(), err
}

// limited keeps what is written to it, up to a limit.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("more than was to be expected")
	}
	l.left -= len(p)
	return l.Buffer.Write(p)
}

// find returns a package that satisfies dep, or nil.
func (o *ownRepo) find(dep string) *alpm.Entry {
	d, err := alpm.ParseDep(dep)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(o.entries, func(e *alpm.Entry) bool { return d.SatisfiedBy(e.Name, e.Version, e.Provides) })
	if i < 0 {
		return nil
	}
	return o.entries[i]
}

// provides reports whether a published package satisfies dep.
func (o *ownRepo) provides(dep string) bool { return o.find(dep) != nil }

// hasAll reports whether all of names are published in that version.
func (o *ownRepo) hasAll(names []string, v alpm.Version) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(o.entries, func(e *alpm.Entry) bool { return e.Name == name && e.Version == v })
	})
}

// closure lists the published packages that satisfy deps, and those that these
// depend on in turn.
func (o *ownRepo) closure(deps []string) (all []*alpm.Entry) {
	for len(deps) > 0 {
		e := o.find(deps[0])
		deps = deps[1:]
		if e == nil || slices.Contains(all, e) {
			continue
		}
		all = append(all, e)
		deps = append(deps, e.Depends...)
	}
	return all
}

// layRepo makes a directory that pacman takes for the repository, with the
// packages wanted in it. Whatever the umask here, pacman can read it there.
func (a *attempt) layRepo(dir string, wanted []*alpm.Entry) error {
	name := filepath.Join(dir, a.own.name+".db")
	err := errors.Join(
		os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755),
		os.WriteFile(name, a.own.db, 0o644), os.Chmod(name, 0o644),
		os.WriteFile(name+".sig", a.own.sig, 0o644), os.Chmod(name+".sig", 0o644),
	)
	if err != nil {
		return err
	}
	c := &packageCache{dir: a.path("packages")}
	if err := c.fill(a.ctx, a.opt.Hub, a.own, wanted); err != nil {
		return fmt.Errorf("fetch packages of %s: %w", a.own.name, err)
	}
	for _, e := range wanted {
		for _, file := range []string{e.FileName, e.FileName + ".sig"} {
			if err := os.Link(c.path(e, file), filepath.Join(dir, file)); err != nil {
				return err
			}
		}
	}
	return c.trim()
}

// packageCache keeps published packages, each in a directory named after its
// digest: packages of one name in two repositories may differ.
type packageCache struct{ dir string }

func (c *packageCache) path(e *alpm.Entry, file string) string {
	return filepath.Join(c.dir, e.SHA256, file)
}

// fill brings what is missing of entries.
func (c *packageCache) fill(ctx context.Context, hub Hub, o *ownRepo, entries []*alpm.Entry) error {
	argv := []string{"pull", "--tar", "--repo", o.name, "--arch", o.arch}
	var missing []*alpm.Entry
	for _, e := range entries {
		if _, err := os.Stat(c.path(e, e.FileName)); err != nil {
			missing, argv = append(missing, e), append(argv, e.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(hub.Run(ctx, argv, nil, w)) }()
	defer r.Close()
	return c.unpack(tar.NewReader(r), missing)
}

// unpack takes exactly the files of entries.
func (c *packageCache) unpack(t *tar.Reader, entries []*alpm.Entry) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return c.complete(entries)
		}
		if err != nil {
			return err
		}
		i := slices.IndexFunc(entries, func(e *alpm.Entry) bool { return h.Name == e.FileName || h.Name == e.FileName+".sig" })
		if i < 0 {
			return fmt.Errorf("%q was not asked for: the repository has changed", h.Name)
		}
		if err := c.take(t, h, entries[i]); err != nil {
			return err
		}
	}
}

// take stores a file. A package gets its name only if its bytes are those that
// the signed database names.
func (c *packageCache) take(r io.Reader, h *tar.Header, e *alpm.Entry) error {
	path := c.path(e, h.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".aside-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if h.Name == e.FileName && hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
		return fmt.Errorf("%s is not the one in the database: the repository has changed", h.Name)
	}
	return os.Rename(f.Name(), path)
}

func (c *packageCache) complete(entries []*alpm.Entry) error {
	for _, e := range entries {
		for _, file := range []string{e.FileName, e.FileName + ".sig"} {
			if _, err := os.Stat(c.path(e, file)); err != nil {
				return fmt.Errorf("%s was not sent", file)
			}
		}
	}
	return nil
}

// trim removes what was fetched longest ago, while there is too much. What is
// in use stays, as it has another name too.
func (c *packageCache) trim() error {
	dirs, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	type kept struct {
		path string
		time time.Time
	}
	var all []kept
	var total int64
	for _, d := range dirs {
		k := kept{path: filepath.Join(c.dir, d.Name())}
		files, err := os.ReadDir(k.path)
		if err != nil {
			continue // another attempt removes it
		}
		for _, f := range files {
			if st, err := f.Info(); err == nil {
				total += st.Size()
				k.time = st.ModTime()
			}
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return b.time.Compare(a.time) })
	for ; total > maxCache && len(all) > 0; all = all[:len(all)-1] {
		total -= sizeOf(all[len(all)-1].path)
		if err := os.RemoveAll(all[len(all)-1].path); err != nil {
			return err
		}
	}
	return nil
}

func sizeOf(dir string) (n int64) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, f := range files {
		if st, err := f.Info(); err == nil {
			n += st.Size()
		}
	}
	return n
}

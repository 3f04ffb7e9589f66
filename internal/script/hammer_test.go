package script_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"serene/internal/dev/makepkg"
	"serene/internal/dev/pacman"
)

// clients is how many systems upgrade in a loop while packages are published.
const clients = 4

// cmdHammer publishes versions of one package as fast as it goes, while several
// clients upgrade in a loop, for so many seconds: hammer KEY SECONDS. It fails
// at the first pacman that fails: a signature that does not fit its database, or
// a file that is named and not there, is what must never be seen.
func (w *world) cmdHammer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hammer KEY SECONDS")
	}
	seconds, err := strconv.Atoi(args[1])
	ts.Check(err)
	lines, err := w.setupLines(args[0])
	ts.Check(err)
	h := &hammer{world: w, key: args[0], until: time.Now().Add(time.Duration(seconds) * time.Second)}
	ctx, cancel := within()
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	packed := make(chan string, 2)
	group.Go(func() error { return h.pack(ctx, packed) })
	group.Go(func() error { return h.publish(ctx, packed) })
	for i := range clients {
		system, err := w.newClient(fmt.Sprintf("client%d", i), lines)
		ts.Check(err)
		group.Go(func() error { return h.upgrade(ctx, system) })
	}
	ts.Check(group.Wait())
	ts.Logf("%d publications, %d rounds of %d clients, in %d s", h.published.Load(), h.rounds.Load(), clients, seconds)
	if h.published.Load() < 5 || h.rounds.Load() < 2*clients {
		ts.Fatalf("too few to show anything")
	}
}

type hammer struct {
	*world
	key               string
	until             time.Time
	published, rounds atomic.Int64
}

func (h *hammer) over() bool { return time.Now().After(h.until) }

// pack makes version after version, so that publish need not wait for bsdtar.
func (h *hammer) pack(ctx context.Context, packed chan<- string) error {
	defer close(packed)
	for i := 1; !h.over(); i++ {
		path, err := h.packOne(ctx, strconv.Itoa(i)+"-1")
		if err != nil {
			return err
		}
		select {
		case packed <- path:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (h *hammer) packOne(ctx context.Context, version string) (path string, err error) {
	dir, err := os.MkdirTemp(h.dir, "hot")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	tree := &makepkg.Tree{Dir: dir, Name: "hot", Version: version}
	if err := os.WriteFile(filepath.Join(dir, "hot"), []byte(version), 0o644); err != nil {
		return "", err
	}
	path = h.path(tree.FileName(".pkg.tar.zst"))
	for _, step := range []func() error{
		tree.Metadata,
		func() error { return tree.MTree(ctx) },
		func() error { return tree.Pack(ctx, path) },
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	return path, nil
}

func (h *hammer) publish(ctx context.Context, packed <-chan string) error {
	for path := range packed {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		cmd := h.ssh.Command(ctx, h.key, "push", filepath.Base(path))
		cmd.Stdin = f
		out, err := cmd.CombinedOutput()
		f.Close()
		if err != nil {
			return fmt.Errorf("push %s: %w\n%s", path, err, out)
		}
		h.published.Add(1)
	}
	return nil
}

// upgrade refreshes both databases and upgrades, again and again. The first
// rounds may find nothing to install yet.
func (h *hammer) upgrade(ctx context.Context, system *pacman.System) error {
	for !h.over() {
		args := []string{"-Syu"}
		if h.published.Load() > 0 {
			args = append(args, "hot")
		}
		for _, args := range [][]string{args, {"-Fy"}} {
			if out, err := system.Command(ctx, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("pacman %v: %w\n%s", args, err, out)
			}
		}
		h.rounds.Add(1)
	}
	return nil
}

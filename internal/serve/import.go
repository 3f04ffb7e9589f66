package serve

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"serene/internal/config"
	"serene/internal/repo"
)

// The exit codes of an import, as the verbs have them.
const (
	importDone   = 0
	importFailed = 1
	importPartly = 6 // some files were left out
	importUsage  = 64
)

const importUsageText = `Usage: serene-serve import DIR [--repo R] [--config FILE] [--state DIR]

Takes the packages in DIR, and their signatures, into the repository R (default:
the first): each is read whole, of several versions of one the newest is taken,
all become one generation. What does not pass is left out and listed on stdout
with the reason. Cut off and run again, it does not read again what it had read.
It may run beside serene-serve, as the same user.

Exit codes: 0 all of it is published, 1 failed, 6 some files were left out,
64 usage.
`

// importCommand is one run of "serene-serve import".
type importCommand struct {
	dir, repo, config, state string
	out                      *bufio.Writer
	err                      io.Writer
}

// Import runs the command of that name with args, the words behind it, and
// returns the exit code.
func Import(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &importCommand{out: bufio.NewWriter(stdout), err: stderr}
	err := c.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stdout, importUsageText)
		return importDone
	case err != nil:
		fmt.Fprintf(stderr, "serene-serve import: %v; see --help\n", err)
		return importUsage
	}
	code, err := c.run(ctx)
	if err = errors.Join(err, c.out.Flush()); err != nil {
		fmt.Fprintf(stderr, "serene-serve import: %v\n", err)
		return max(code, importFailed)
	}
	return code
}

// parse takes flags on both sides of DIR.
func (c *importCommand) parse(args []string) error {
	set := flag.NewFlagSet("import", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&c.repo, "repo", "", "")
	set.StringVar(&c.config, "config", os.Getenv("SERENE_CONFIG"), "")
	set.StringVar(&c.state, "state", os.Getenv("SERENE_STATE"), "")
	var dirs []string
	for {
		if err := set.Parse(args); err != nil {
			return err
		}
		if set.NArg() == 0 {
			break
		}
		dirs, args = append(dirs, set.Arg(0)), set.Args()[1:]
	}
	if len(dirs) != 1 {
		return errors.New("one DIR at a time")
	}
	var err error
	c.dir, err = filepath.Abs(dirs[0])
	return err
}

func (c *importCommand) run(ctx context.Context) (int, error) {
	cfg, err := config.Load(c.config, c.state)
	if err != nil {
		return importUsage, err
	}
	if err := ownState(string(cfg.State)); err != nil {
		return importFailed, err
	}
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	up, err := openUpstream(cfg, log)
	if err != nil {
		return importFailed, err
	}
	store, err := repo.OpenConfigured(cfg, up)
	if err != nil {
		return importFailed, err
	}
	report, err := store.Import(ctx, c.dir, c.repo, repo.Actor{Verb: "import"}, newBar(c.err).show)
	if err != nil {
		return importFailed, err
	}
	for _, r := range report.Refused {
		fmt.Fprintf(c.out, "left out %s: %s\n", r.File, r.Why)
	}
	fmt.Fprintf(c.err, "%d to publish, %d already there, %d left out\n", report.Taken, report.Already, len(report.Refused))
	if report.Tx != "" {
		if err := c.publish(ctx, cfg, store, report.Tx, log); err != nil {
			return importFailed, err
		}
	}
	if len(report.Refused) > 0 {
		return importPartly, nil
	}
	return importDone, nil
}

// publish waits for the daemon to publish the transaction, or does it itself
// where none runs.
func (c *importCommand) publish(ctx context.Context, cfg *config.Config, store *repo.Store, tx string, log *slog.Logger) error {
	signer, err := openSigner(cfg, log)
	if err != nil {
		return err
	}
	w, err := repo.OpenWriter(store, signer, log)
	switch {
	case errors.Is(err, repo.ErrBusy):
		fmt.Fprintln(c.err, "waiting for serene-serve to publish them")
	case err != nil:
		return err
	default:
		defer w.Close()
		if _, err := w.Refresh(ctx); err != nil {
			return err
		}
	}
	o, err := store.Wait(ctx, tx)
	if err != nil {
		return err
	}
	for _, r := range o.Receipts {
		fmt.Fprintln(c.out, r)
		for _, warning := range r.Warnings {
			fmt.Fprintf(c.out, "warning: %s: %s\n", r.File, warning)
		}
	}
	return o.Err()
}

// ownState refuses to leave files behind that the daemon cannot read.
func ownState(state string) error {
	var st unix.Stat_t
	if err := unix.Stat(state, &st); err != nil {
		return nil // it is about to be made, by us
	}
	if uid := os.Geteuid(); int(st.Uid) != uid {
		return fmt.Errorf("%s belongs to user %d and this is user %d: run it as that user (sudo -u)", state, st.Uid, uid)
	}
	return nil
}

// bar draws progress on a terminal, and nothing elsewhere.
type bar struct{ w io.Writer }

func newBar(w io.Writer) *bar {
	f, ok := w.(*os.File)
	if !ok {
		return new(bar)
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return new(bar)
	}
	return &bar{w}
}

// show draws the bar, and ends its line when all is done.
func (b *bar) show(done, total int) {
	const width = 40
	if b.w == nil {
		return
	}
	filled := width * done / total
	fmt.Fprintf(b.w, "\r[%s%s] %d/%d", strings.Repeat("#", filled), strings.Repeat(" ", width-filled), done, total)
	if done == total {
		fmt.Fprintln(b.w)
	}
}

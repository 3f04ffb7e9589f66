package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"serene/internal/source/aurtest"
)

// most is how often the time of makepkg on the host a build may take, the ssh
// connection apart.
const most = 1.4

// buildTimes are the times of all rounds.
type buildTimes struct {
	host, ssh, build []time.Duration
	ratios           []float64 // (build - ssh) / host, each

	phases []string // in order
	took   map[string][]time.Duration
}

// builds times a trivial package: makepkg on the host against all that lies
// between `ssh HOST build -f` and its exit, when the package is published. What a
// connection costs by itself is taken off: no build needs less than that.
func builds(ctx context.Context, o options) (err error) {
	w, err := newWorkshop(ctx, o.bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	// The first one waits until the builder is there, and does not count.
	if err := w.round(ctx, 1, &buildTimes{}); err != nil {
		return err
	}
	t := &buildTimes{}
	for i := range o.builds {
		if err := w.round(ctx, i+2, t); err != nil {
			return err
		}
		printRound(fmt.Sprintf("round %d", i+1), t.host[i], t.build[i], t.ssh[i], t.ratios[i])
	}
	printRound("median", median(t.host), median(t.build), median(t.ssh), median(t.ratios))
	fmt.Printf("         (build without ssh's own time, by makepkg's; at most %.2f)\n", most)
	t.printPhases()
	return nil
}

func printRound(which string, host, build, ssh time.Duration, ratio float64) {
	fmt.Printf("%-8s makepkg %s   ssh build -f %s   ssh hello %s   ratio %.2f\n", which, seconds(host), seconds(build), seconds(ssh), ratio)
}

func (t *buildTimes) printPhases() {
	fmt.Print("phases  ")
	for _, phase := range t.phases {
		fmt.Printf(" %s %d ms ", phase, median(t.took[phase]).Milliseconds())
	}
	fmt.Println()
}

// round makes a new version of the package and builds it here and there.
func (w *workshop) round(ctx context.Context, n int, t *buildTimes) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p := aurtest.Simple("trivial", fmt.Sprintf("%d-1", n))
	if err := w.aur.Add(p); err != nil {
		return err
	}
	host, err := onHost(ctx, p)
	if err != nil {
		return err
	}
	ssh, err := timed(func() error { return w.ssh.Command(ctx, "serene", "hello").Run() })
	if err != nil {
		return fmt.Errorf("ssh serene hello: %w", err)
	}
	build, err := timed(func() error { return w.build(ctx, p, t) })
	if err != nil {
		return err
	}
	t.host, t.ssh, t.build = append(t.host, host), append(t.ssh, ssh), append(t.build, build)
	t.ratios = append(t.ratios, (build-ssh).Seconds()/host.Seconds())
	return w.published(ctx, fmt.Sprintf("trivial %d-1", n))
}

// onHost times makepkg without a sandbox, as one would run it, but not as root.
func onHost(ctx context.Context, p aurtest.Package) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "onhost")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "PKGBUILD"), []byte(p.Files["PKGBUILD"]), 0o644); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "makepkg", "--force", "--holdver", "--noconfirm")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PKGEXT=.pkg.tar.zst", "LC_ALL=C.UTF-8", "BUILDDIR=" + dir, "PKGDEST=" + dir}
	if os.Getuid() == 0 {
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return 0, err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return timed(func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("makepkg: %w\n%s", err, out)
		}
		return nil
	})
}

var heading = regexp.MustCompile(`^==> \[([a-z]+)\] `)

// build follows a build to its end, and notes when each phase was first heard
// of. "submit" is what comes before the first, the connection included.
func (w *workshop) build(ctx context.Context, p aurtest.Package, t *buildTimes) error {
	cmd := w.ssh.Command(ctx, "serene", "build", "-f", p.Base)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	phase, since := "submit", time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintf(&said, "%s\n", lines.Bytes())
		if m := heading.FindSubmatch(lines.Bytes()); m != nil {
			t.ended(phase, since)
			phase, since = string(m[1]), time.Now()
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ssh serene build: %w\n%s", err, said.Bytes())
	}
	t.ended(phase, since)
	return nil
}

func (t *buildTimes) ended(phase string, since time.Time) {
	if t.took == nil {
		t.took = make(map[string][]time.Duration)
	}
	if t.took[phase] == nil {
		t.phases = append(t.phases, phase)
	}
	t.took[phase] = append(t.took[phase], time.Since(since))
}

// published fails unless the database has the package.
func (w *workshop) published(ctx context.Context, what string) error {
	out, err := w.ssh.Command(ctx, "serene", "list").Output()
	if err == nil && !strings.Contains(string(out), what) {
		err = errors.New("it is not published")
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, out)
	}
	return nil
}

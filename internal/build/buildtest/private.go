package buildtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Private is an engine that one test, or run of make up, has to itself. It has
// Image, and no way out: its containers are never given a network.
type Private struct {
	Host string // as DOCKER_HOST words it

	dir   string
	cmd   *exec.Cmd
	ended chan error
}

// NewPrivate prepares an engine with all that is its own in dir. It is not
// started yet.
func NewPrivate(dir string) *Private {
	return &Private{Host: "unix://" + filepath.Join(dir, "docker.sock"), dir: dir}
}

// Start starts it, and returns when it answers and has the image. It may have to
// be closed although it failed.
func (p *Private) Start(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	pid, execRoot := filepath.Join(p.dir, "pid"), filepath.Join(p.dir, "exec")
	// As in start: what has left these was killed.
	for _, stale := range []string{pid, filepath.Join(execRoot, "containerd", "containerd.pid")} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	cmd := exec.Command("dockerd", "--host", p.Host, "--data-root", filepath.Join(p.dir, "data"),
		"--exec-root", execRoot, "--pidfile", pid, "--bridge=none", "--iptables=false")
	cmd.Stdout, cmd.Stderr = log, log
	// In a network of its own: an engine without a bridge takes away the bridge
	// that it finds, and that is the shared one's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNET}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended) // who asks again hears of it as well
	}()
	p.cmd, p.ended = cmd, ended
	if err := await(ctx, p.Host, ended, log.Name()); err != nil {
		return err
	}
	return EnsureImage(ctx, p.Host)
}

// Kill ends it at once. What runs its containers stays behind, as it would.
func (p *Private) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
	p.cmd = nil
}

// Close ends it in good order, with everything it has started.
func (p *Private) Close(ctx context.Context) error {
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.Kill()
		return ctx.Err()
	}
	// Each start mounts its data on itself, and one that is killed leaves that.
	for unix.Unmount(filepath.Join(p.dir, "data"), unix.MNT_DETACH) == nil {
	}
	return nil
}

// Package buildtest has what tests of builds run against: a Docker engine that
// answers, and an image with makepkg and pacman made of Debian's packages, so
// that nothing has to be pulled.
//
// Both are shared by all tests of a machine and outlive them: an engine that was
// started here goes on running, and the image is kept below the user's cache
// directory, in serene-test. A test never skips because one of them is missing.
package buildtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

var (
	once sync.Once
	host string
	fail error
)

// Engine returns the address, as DOCKER_HOST words it, of an engine that answers
// and has Image. The first call of a machine takes a minute or two.
func Engine(t testing.TB) string {
	t.Helper()
	once.Do(func() { host, fail = setUp() })
	if fail != nil {
		t.Fatalf("docker engine for tests: %v", fail)
	}
	return host
}

func setUp() (host string, err error) {
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Minute)
	defer stop()
	err = alone(func(dir string) error {
		if host, err = engine(ctx, dir); err != nil {
			return err
		}
		return ensureImage(ctx, host, dir)
	})
	return host, err
}

// alone runs f with the cache directory, in one process at a time: the others
// wait for the first.
func alone(f func(dir string) error) error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return f(dir)
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "serene-test")
	return dir, os.MkdirAll(dir, 0o755)
}

// engine finds one, or starts one.
func engine(ctx context.Context, dir string) (string, error) {
	host, err := Find(ctx)
	if err != nil || host != "" {
		return host, err
	}
	own := ownHost(dir)
	return own, start(ctx, own, dir)
}

// Find returns the address of an engine that answers already, or "" if there is
// none but one can be started: that takes root.
func Find(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	for _, host := range []string{os.Getenv("DOCKER_HOST"), client.DefaultDockerHost, ownHost(dir)} {
		if host != "" && answers(ctx, host) == nil {
			return host, nil
		}
	}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("no engine answers, and only root can start one: start dockerd, or set DOCKER_HOST")
	}
	return "", nil
}

// ownHost is the engine that start leaves behind.
func ownHost(dir string) string { return "unix://" + filepath.Join(dir, "docker.sock") }

func answers(ctx context.Context, host string) error {
	api, err := connect(host)
	if err != nil {
		return err
	}
	defer api.Close()
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	_, err = api.Ping(ctx)
	return err
}

func connect(host string) (*client.Client, error) {
	return client.NewClientWithOpts(client.FromEnv, client.WithHost(host), client.WithAPIVersionNegotiation())
}

// start leaves a dockerd behind, whose log, pid and data are in dir.
func start(ctx context.Context, host, dir string) error {
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	pid, execRoot := filepath.Join(dir, "dockerd.pid"), filepath.Join(dir, "exec")
	// Nothing answered, so what has left these is gone. A zombie, or another
	// process that has its number now, must not pass for it.
	for _, stale := range []string{pid, filepath.Join(execRoot, "containerd", "containerd.pid")} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	cmd := exec.Command("dockerd", "--host", host, "--data-root", filepath.Join(dir, "docker"),
		"--exec-root", execRoot, "--pidfile", pid)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // or ^C in a terminal would end it
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return await(ctx, host, ended, log.Name())
}

func await(ctx context.Context, host string, ended <-chan error, log string) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("dockerd: %v, see %s", err, log)
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer, see %s", log)
		case <-again.C:
			if answers(ctx, host) == nil {
				return nil
			}
		}
	}
}

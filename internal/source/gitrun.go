package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gitConfig is all the configuration git gets, besides the bare repository's own,
// which is as git init left it.
var gitConfig = []string{
	"core.hooksPath=/dev/null",
	"core.attributesFile=/dev/null",
	"core.fsmonitor=false",
	"credential.helper=",
	"submodule.recurse=false",
	"fetch.recurseSubmodules=false",
	"fetch.unpackLimit=1", // always a pack: one file that grows is easily watched
	"transfer.fsckObjects=true",
	"gc.auto=0",
	"maintenance.auto=false",
	"http.followRedirects=false", // what is fetched is what was asked for, and said to be
	"http.lowSpeedLimit=100",
	"http.lowSpeedTime=60",
	"http.userAgent=serene",
	"pack.threads=1",
	"core.bigFileThreshold=16m", // larger objects are streamed
	"core.packedGitWindowSize=32m",
	"core.packedGitLimit=256m",
}

// passed are the only variables git inherits: how to get out of this network.
var passed = []string{"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"}

const (
	gitMemory = 4 << 30 // bytes of address space of each process
	watchTick = 100 * time.Millisecond
	maxStderr = 4 << 10
	maxStdout = 64 << 10
)

func (r *repository) environ() []string {
	protocols := "https:ssh:http" // http has passed Allow
	if r.allow.File {
		protocols += ":file"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=true",
		"GIT_ALLOW_PROTOCOL=" + protocols,
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_SSH_VARIANT=ssh",
		"GIT_SSH_COMMAND=" + r.ssh.command(),
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// command is a line that git gives to a shell. It reads no configuration, asks
// nobody, and offers nothing but the one key.
func (s SSH) command() string {
	if s.Identity == "" {
		return "false"
	}
	return "ssh -F none" + option("IdentityFile", s.Identity) + option("UserKnownHostsFile", s.KnownHosts) +
		" -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o IdentityAgent=none" +
		" -o BatchMode=yes -o ClearAllForwardings=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"
}

// option words a path for ssh, which expands %, inside what a shell takes apart.
func option(name, path string) string {
	return " -o " + quote(name+`="`+strings.ReplaceAll(path, "%", "%%")+`"`)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// command prepares git in a process group of its own, which ends with ctx.
func (r *repository) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := []string{"--git-dir=" + r.dir}
	for _, c := range gitConfig {
		argv = append(argv, "-c", c)
	}
	cmd := exec.CommandContext(ctx, "git", append(argv, args...)...)
	cmd.Env = r.environ()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// start starts a prepared command with a limit on its memory. Objects are small
// in a pack and large out of it.
func start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: gitMemory, Max: gitMemory}
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_AS, &limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
		return errors.Join(fmt.Errorf("limit git's memory: %w", err), cmd.Cancel(), cmd.Wait())
	}
	return nil
}

// git runs a git command to its end, while the repository stays within its limit
// on disk, and returns the beginning of what it printed.
func (r *repository) git(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := r.command(ctx, args...)
	stdout, stderr := &head{most: maxStdout}, &head{most: maxStderr}
	cmd.Stdout, cmd.Stderr = stdout, io.MultiWriter(stderr, r.log)
	if err := start(cmd); err != nil {
		return "", err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(ctx, cancel)
	}()
	err := cmd.Wait()
	if err == nil {
		err = r.checkSize()
	}
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	if err != nil && cause != nil {
		return "", cause
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", gitError(args[0], exit, stderr.String())
	}
	return stdout.String(), err
}

// watch ends ctx when the repository has grown over its limit.
func (r *repository) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.checkSize(); err != nil {
				cancel(err)
				return
			}
		}
	}
}

func (r *repository) checkSize() error {
	if size(r.dir) > r.lim.Repo {
		return errorf(ErrTooLarge, "the repository has more than %d bytes", r.lim.Repo)
	}
	return nil
}

// size adds up the files below dir. What vanishes meanwhile counts for nothing.
func size(dir string) (sum int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if st, err := d.Info(); err == nil {
			sum += st.Size()
		}
		return nil
	})
	return sum
}

// gitError turns git's own words into an error, with the class they tell. What
// they do not tell is taken for the network's or the server's trouble.
func gitError(verb string, exit *exec.ExitError, stderr string) error {
	line := lastLine(stderr)
	for _, c := range []struct {
		words string
		class error
	}{
		{"couldn't find remote ref", ErrNotFound},
		{"Remote branch", ErrNotFound},
		{"not found", ErrNotFound},
		{"does not exist", ErrNotFound},
		{"does not appear to be a git repository", ErrNotFound},
		{"could not read Username", ErrNotFound}, // how web hosts say it
		{"Authentication failed", ErrNotFound},
		{"not allowed", ErrRefused},
		{"fsck error", ErrRefused},
		{"unable to update url base from redirection", ErrRefused},
	} {
		if strings.Contains(stderr, c.words) {
			return errorf(c.class, "git %s: %s", verb, line)
		}
	}
	if line == `""` {
		return errorf(ErrUnavailable, "git %s: %s", verb, exit)
	}
	return errorf(ErrUnavailable, "git %s: %s", verb, line)
}

// lastLine is the last line git itself wrote that says why, fit to print.
func lastLine(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "fatal: "); ok {
			last = text
		} else if text, ok := strings.CutPrefix(line, "error: "); ok && last == "" {
			last = text
		}
	}
	return show(last)
}

// head keeps the first bytes written to it.
type head struct {
	kept []byte
	most int
}

func (h *head) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(h.most-len(h.kept), len(b))]...)
	return len(b), nil
}

func (h *head) String() string { return string(h.kept) }

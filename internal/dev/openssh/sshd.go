package openssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Sshd is a real OpenSSH server on loopback.
type Sshd struct {
	Addr string

	cmd *exec.Cmd
}

// StartSshd runs sshd in the foreground for the user who calls, lets in the
// public keys given, and returns when it accepts connections. c trusts its host
// key afterwards.
func (c *Client) StartSshd(ctx context.Context, keys ...string) (*Sshd, error) {
	authorized := filepath.Join(c.Dir, "sshd_keys")
	if err := os.WriteFile(authorized, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	return c.StartSshdWith(ctx, "AuthorizedKeysFile "+authorized+"\n")
}

// StartSshdWith is StartSshd with lines of sshd_config that say who is let in.
// They are a file that the configuration includes at its top, as distributions
// have it with sshd_config.d.
func (c *Client) StartSshdWith(ctx context.Context, lines string) (*Sshd, error) {
	hostKey, _, err := c.NewKey(ctx, "sshd_host")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config, included := filepath.Join(c.Dir, "sshd_config"), filepath.Join(c.Dir, "included.conf")
	for file, text := range map[string]string{config: sshdConfig(included, addr, hostKey), included: lines} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if os.Getuid() == 0 { // the directory that sshd confines its child to
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	path, err := sshdPath()
	if err != nil {
		return nil, err
	}
	s := &Sshd{Addr: addr, cmd: exec.Command(path, "-D", "-e", "-f", config)}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s, c.Trust(ctx, addr, hostKey)
}

func sshdConfig(included, addr, hostKey string) string {
	return fmt.Sprintf(`Include %s
ListenAddress %s
HostKey %s
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
`, included, addr, hostKey)
}

// sshdPath finds the program by its full path, without which sshd does not
// start. It is seldom in the PATH of people.
func sshdPath() (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, "sshd")
		if _, err := os.Stat(path); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no sshd on this machine")
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// run starts sshd and waits for the line with which it says that it listens.
func (s *Sshd) run(ctx context.Context) error {
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	var said strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), "Server listening on") {
		n, err := stderr.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			return fmt.Errorf("sshd: %w: %s", err, said.String())
		}
	}
	go func() { // or it would block once the pipe is full
		for err == nil {
			_, err = stderr.Read(buf)
		}
	}()
	return nil
}

// Stop ends sshd. Sessions in flight go on, as sshd has it.
func (s *Sshd) Stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait() // it was killed, so it fails
}

// KillSessions ends the processes that serve connections, as a crash would, and
// leaves sshd itself listening.
func (s *Sshd) KillSessions() error {
	pid := s.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return err
	}
	for word := range strings.FieldsSeq(string(children)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

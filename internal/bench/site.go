package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"serene/internal/dev/makepkg"
	"serene/internal/dev/openssh"
	"serene/internal/dev/unit"
)

// site is what is measured: both daemons and an OpenSSH server, in one
// temporary directory.
type site struct {
	dir            string
	log            *os.File
	sockets        []*unit.Socket
	serve, receive *unit.Unit
	sshd           *openssh.Sshd
	ssh            *openssh.Client
}

const config = `[[repo]]
name = "bench"
arches = ["x86_64"]
[receive]
min_free = "64MiB"
[serve]
admin_listen = ""
`

func newSite(ctx context.Context, bin string) (s *site, err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	s = &site{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "serene-bench"); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return nil, err
	}
	if s.ssh, err = openssh.New(filepath.Join(s.dir, "ssh")); err != nil {
		return nil, err
	}
	identity, public, err := s.ssh.NewKey(ctx, "bench")
	if err != nil {
		return nil, err
	}
	for path, text := range map[string]string{"serene.toml": config, "authorized_keys": public + "\n"} {
		if err := os.WriteFile(filepath.Join(s.dir, path), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.startDaemons(ctx, bin, identity); err != nil {
		return nil, err
	}
	if s.sshd, err = s.ssh.StartSshd(ctx, public); err != nil {
		return nil, err
	}
	return s, s.ssh.AddHost("sshd", s.sshd.Addr, "", identity)
}

func (s *site) startDaemons(ctx context.Context, bin, identity string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.serve, err = s.start(ctx, bin, "serene-serve", "https"); err != nil {
		return err
	}
	if s.receive, err = s.start(ctx, bin, "serene-receive", "ssh"); err != nil {
		return err
	}
	addr := s.receive.Sockets[0].Addr
	if err := s.ssh.Trust(ctx, addr, filepath.Join(s.dir, "keys/ssh_host_ed25519_key")); err != nil {
		return err
	}
	return s.ssh.AddHost("serene", addr, "", identity)
}

func (s *site) start(ctx context.Context, bin, name, socket string) (*unit.Unit, error) {
	l, err := unit.Listen(socket, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.sockets = append(s.sockets, l)
	u := &unit.Unit{
		Path:    filepath.Join(bin, name),
		Args:    []string{"--state", s.dir},
		Env:     []string{"PATH=/nonexistent", "HOME=" + s.dir},
		Sockets: []*unit.Socket{l},
		Log:     s.log,
	}
	return u, u.Start(ctx)
}

// close ends everything; it may be called on a site that was only begun.
func (s *site) close() {
	if s.sshd != nil {
		s.sshd.Stop()
	}
	for _, u := range []*unit.Unit{s.receive, s.serve} {
		if u != nil {
			u.Kill()
		}
	}
	for _, l := range s.sockets {
		l.Close()
	}
	if s.log != nil {
		s.log.Close()
	}
	os.RemoveAll(s.dir)
}

// makePackage packs mib MiB that do not compress, as version n.
func (s *site) makePackage(ctx context.Context, n, mib int) (path string, err error) {
	dir, err := os.MkdirTemp(s.dir, "tree")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	tree := &makepkg.Tree{Dir: dir, Name: "big", Version: strconv.Itoa(n) + "-1"}
	if err := writeNoise(filepath.Join(dir, "data"), n, mib); err != nil {
		return "", err
	}
	if err := tree.Metadata(); err != nil {
		return "", err
	}
	if err := tree.MTree(ctx); err != nil {
		return "", err
	}
	path = filepath.Join(s.dir, tree.FileName(".pkg.tar.zst"))
	return path, tree.Pack(ctx, path)
}

func writeNoise(path string, seed, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.CopyN(w, noise, int64(mib)<<20); err != nil {
		f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (s *site) push(ctx context.Context, file string) error {
	return s.upload(ctx, file, "serene", "push", filepath.Base(file))
}

// sink is an upload to OpenSSH's server that is thrown away there.
func (s *site) sink(ctx context.Context, file string) error {
	return s.upload(ctx, file, "sshd", "cat >/dev/null")
}

func (s *site) upload(ctx context.Context, file, host string, words ...string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := s.ssh.Command(ctx, host, words...)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", host, err, out)
	}
	return nil
}

// pull and cat are downloads that are thrown away here.

func (s *site) pull(ctx context.Context, file string) error {
	return s.ssh.Command(ctx, "serene", "pull", "--path", "bench/x86_64/"+filepath.Base(file)).Run()
}

func (s *site) cat(ctx context.Context, file string) error {
	return s.ssh.Command(ctx, "sshd", "cat", file).Run()
}

func (s *site) scp(ctx context.Context, file string) error {
	to := filepath.Join(s.dir, "copied")
	defer os.Remove(to)
	return s.scpFile(ctx, file, "sshd:"+to)
}

func (s *site) scpTo(ctx context.Context, file string) error {
	return s.scpFile(ctx, file, "serene:/bench/")
}

func (s *site) scpFile(ctx context.Context, file, to string) error {
	out, err := exec.CommandContext(ctx, "scp", "-q", "-F", s.ssh.Config(), file, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("scp: %w: %s", err, out)
	}
	return nil
}

// peakMemory is the most that serene-receive ever had in memory, in bytes.
func (s *site) peakMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.receive.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/%d/status", s.receive.PID())
}

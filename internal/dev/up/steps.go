package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"serene/internal/dev/makepkg"
)

// alias is the host's name in the ssh_config that is made for this run.
const alias = "serene"

// authorise lets the person's own keys in, and one made for this run, which
// needs no passphrase. Nothing is read of a private key that is not ours.
func (p *place) authorise(ctx context.Context) error {
	identity, public, err := p.ssh.NewKey(ctx, "up")
	if err != nil {
		return err
	}
	lines := []string{public}
	home, err := os.UserHomeDir()
	if err == nil {
		p.own, _ = filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub")) // the pattern is sound
	}
	for _, file := range p.own {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		lines = append(lines, strings.TrimSpace(string(b)))
	}
	if err := p.admit(strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	if err := p.ssh.AddHost(alias, p.addrs["ssh"], "", identity); err != nil {
		return err
	}
	if err := p.ssh.Trust(ctx, p.addrs["ssh"], p.path("state/keys/ssh_host_ed25519_key")); err != nil {
		return err
	}
	return p.receive.Reload(ctx)
}

// admit adds lines to authorized_keys, where the builder has one already.
func (p *place) admit(lines string) error {
	f, err := os.OpenFile(p.path("state/authorized_keys"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines)
	return errors.Join(err, f.Close())
}

// source has the PKGBUILDs of the package that is pushed and of the one that the
// builder makes.
//
//go:embed hello/PKGBUILD built/PKGBUILD
var source embed.FS

// push builds a package and pushes it, as one would by hand.
func (p *place) push(ctx context.Context) error {
	dir, err := p.unpack("hello")
	if err != nil {
		return err
	}
	files, err := makepkg.Build(ctx, dir, dir)
	if err != nil {
		return err
	}
	p.pushed = files[0]
	fmt.Println("built", relative(p.pushed))
	f, err := os.Open(p.pushed)
	if err != nil {
		return err
	}
	defer f.Close()
	began := time.Now()
	cmd := p.ssh.Command(ctx, alias, "push", filepath.Base(p.pushed))
	cmd.Stdin = f
	out, err := show(cmd)
	if err == nil {
		fmt.Printf("%s(%s)\n", out, took(began))
	}
	return err
}

// unpack writes a directory of source, and returns where it is now.
func (p *place) unpack(name string) (string, error) {
	dir := p.path(name)
	tree, err := fs.Sub(source, name)
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, tree)
}

// install sets the scratch system up with what the server tells, and installs.
func (p *place) install(ctx context.Context) error {
	out, err := p.ssh.Command(ctx, alias, "setup", "--json").Output()
	if err != nil {
		return fmt.Errorf("ssh %s setup: %w", alias, err)
	}
	var lines struct {
		URL         string `json:"url"`
		Key         string `json:"key"`
		Certificate string `json:"certificate"`
		PacmanConf  string `json:"pacman_conf"`
	}
	if err := json.Unmarshal(out, &lines); err != nil {
		return fmt.Errorf("ssh %s setup --json: %w", alias, err)
	}
	if !p.pacman.TLS() {
		fmt.Println("note: this machine lets no one mount, so pacman cannot be shown the certificate and goes over plain HTTP")
		lines.PacmanConf = strings.ReplaceAll(lines.PacmanConf, lines.URL, "http://"+p.addrs["http"])
	}
	for _, err := range []error{
		p.pacman.TrustCertificate([]byte(lines.Certificate)),
		p.pacman.TrustKey(ctx, []byte(lines.Key)),
		p.pacman.Configure(lines.PacmanConf),
	} {
		if err != nil {
			return err
		}
	}
	return p.fetch(ctx, "hello-serene")
}

// fetch has pacman install the package.
func (p *place) fetch(ctx context.Context, name string) error {
	if _, err := show(p.pacman.Command(ctx, "-Sy", name)); err != nil {
		return err
	}
	installed, err := show(p.pacman.Command(ctx, "-Q", name))
	if err == nil {
		fmt.Print("pacman installed ", installed)
	}
	return err
}

// show runs cmd and returns its stdout; what it said is in the error if it fails.
func show(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", filepath.Base(cmd.Path), err, out, stderr.Bytes())
	}
	return string(out), nil
}

// relative shortens a path for people who are in the directory above.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(wd, path)
	if err != nil {
		return path
	}
	return short
}

// explain says how to go on by hand.
func (p *place) explain(once bool) {
	config := relative(p.ssh.Config())
	conf := fmt.Sprintf("[serene]\nSigLevel = Required DatabaseRequired\nServer = https://%s/$repo/$arch", p.addrs["https"])
	fmt.Printf(`
It works. A repository is served at https://%s and takes packages at ssh port %s.

push a package         ssh -F %[3]s %[4]s push FILE < FILE
push many at once      tar c *.pkg.tar.zst | ssh -F %[3]s %[4]s push -
everything else        ssh -F %[3]s %[4]s help
set a machine up       ssh -F %[3]s %[4]s setup
`, p.addrs["https"], port(p.addrs["ssh"]), config, alias)
	if p.builder != nil {
		fmt.Printf("build a PKGBUILD       tar c -C %s . | ssh -F %s %s build -f -\n", relative(p.path("built")), config, alias)
	}
	for _, file := range p.own {
		fmt.Printf("your own key           %s may log in as well: ssh -p %s 127.0.0.1 help\n", file, port(p.addrs["ssh"]))
	}
	fmt.Printf("\nfor pacman.conf:\n\n%s\n\nlogs and state are in %s\n", conf, relative(p.dir))
	if !once {
		fmt.Println("Ctrl-C stops it.")
	}
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

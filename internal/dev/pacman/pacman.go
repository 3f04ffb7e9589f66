// Package pacman runs the real pacman on a throw-away system: its own root,
// databases, cache, keyring, configuration and trusted certificate. Nothing of
// the machine's own pacman, if it has one, is read or changed. Signatures are
// always required, of packages and of databases.
package pacman

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// caBundle is where the libcurl that pacman is linked with finds the
// certificates to trust. It has no other way in: neither an environment variable
// nor a line in pacman.conf.
const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// System is one throw-away Arch system. Make one with New.
type System struct {
	Dir string // absolute

	mounts bool // the machine allows a mount namespace
}

// New makes an empty system in dir.
func New(dir string) (*System, error) {
	s := &System{Dir: dir}
	s.mounts = exec.Command("unshare", append(namespace(), "--", "true")...).Run() == nil
	for _, sub := range []string{"root", "db", "cache", "hooks"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.Keyring(), 0o700); err != nil {
		return nil, err
	}
	// As pacman-key --init does: gpg then keeps to the format that pacman looks for.
	if err := os.WriteFile(filepath.Join(s.Keyring(), "pubring.gpg"), nil, 0o644); err != nil {
		return nil, err
	}
	return s, s.TrustCertificate(nil)
}

// TLS tells whether TrustCertificate has an effect. Where it has none, as in a
// container that may not mount, only plain HTTP can be fetched.
func (s *System) TLS() bool { return s.mounts }

// Root is the directory that packages are installed to.
func (s *System) Root() string { return filepath.Join(s.Dir, "root") }

// Keyring is the GnuPG home that signatures are checked with.
func (s *System) Keyring() string { return filepath.Join(s.Dir, "gnupg") }

// Config is the path of pacman.conf.
func (s *System) Config() string { return filepath.Join(s.Dir, "pacman.conf") }

func (s *System) certificates() string { return filepath.Join(s.Dir, "certificates.pem") }

// Configure writes pacman.conf: the options that keep pacman inside Dir, and
// the lines of the repositories as they are given.
func (s *System) Configure(repos string) error {
	text := fmt.Sprintf(`[options]
RootDir = %s
DBPath = %s
CacheDir = %s
LogFile = %s
GPGDir = %s
HookDir = %s
Architecture = x86_64
NoProgressBar
SigLevel = Required DatabaseRequired

%s`, s.Root(), s.in("db"), s.in("cache"), s.in("pacman.log"), s.Keyring(), s.in("hooks"), repos)
	return os.WriteFile(s.Config(), []byte(text), 0o644)
}

func (s *System) in(name string) string { return filepath.Join(s.Dir, name) }

// TrustCertificate has pacman trust the PEM certificates beside the machine's.
func (s *System) TrustCertificate(pem []byte) error {
	system, err := os.ReadFile(caBundle)
	if err != nil {
		return err
	}
	return os.WriteFile(s.certificates(), bytes.Join([][]byte{system, pem}, []byte("\n")), 0o644)
}

// TrustKey imports an armored OpenPGP public key and trusts it wholly, as
// pacman-key --lsign-key would after making a master key to sign it with.
func (s *System) TrustKey(ctx context.Context, armored []byte) error {
	listing, err := s.gpg(ctx, armored, "--import-options", "show-only", "--import", "--with-colons")
	if err != nil {
		return err
	}
	fingerprint, err := primary(listing)
	if err != nil {
		return err
	}
	if _, err := s.gpg(ctx, armored, "--import"); err != nil {
		return err
	}
	_, err = s.gpg(ctx, []byte(fingerprint+":6:\n"), "--import-ownertrust")
	return err
}

func (s *System) gpg(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	args = append([]string{"--homedir", s.Keyring(), "--batch", "--no-autostart", "--no-permission-warning", "--quiet"}, args...)
	cmd := exec.CommandContext(ctx, "gpg", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gpg %s: %w: %s", args[len(args)-1], err, stderr.Bytes())
	}
	return out, nil
}

// primary finds the fingerprint of the primary key in gpg's colon listing.
func primary(listing []byte) (string, error) {
	for line := range strings.SplitSeq(string(listing), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" && len(f) > 9 {
			return f[9], nil
		}
	}
	return "", fmt.Errorf("no OpenPGP key in what was given")
}

// Command is pacman with these arguments. It never asks. It finds the trusted
// certificates where libcurl looks for them: a mount that only it sees.
func (s *System) Command(ctx context.Context, args ...string) *exec.Cmd {
	return s.Wrap(ctx, append([]string{"pacman", "--config", s.Config(), "--noconfirm"}, args...)...)
}

// Wrap is any command, seeing what pacman sees and being root to itself.
func (s *System) Wrap(ctx context.Context, args ...string) *exec.Cmd {
	args = append(s.prefix(), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + s.Dir, "LANG=C.UTF-8"}
	return cmd
}

func (s *System) prefix() []string {
	switch {
	case s.mounts:
		const mount = `mount --bind "$0" "$1" && shift && exec "$@"`
		prefix := append([]string{"unshare"}, namespace()...)
		return append(prefix, "--", "/bin/sh", "-c", mount, s.certificates(), caBundle)
	case os.Getuid() != 0:
		return []string{"fakeroot", "--"}
	}
	return nil
}

// namespace is how unshare is asked for mounts of one's own. Who is not root
// becomes it in a user namespace, which is enough for pacman.
func namespace() []string {
	if os.Getuid() == 0 {
		return []string{"--mount"}
	}
	return []string{"--mount", "--map-root-user"}
}

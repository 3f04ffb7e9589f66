package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	gossh "golang.org/x/crypto/ssh"
)

// LoadOrCreateHostKey returns the host key in the file path, which may be of
// any type and format ssh-keygen writes without a passphrase. Where there is
// no file it makes an Ed25519 key and writes it in OpenSSH's format, mode
// 0600, whole or not at all, and says so with created. A file that others
// than its owner can read or write is refused, as sshd does.
func LoadOrCreateHostKey(path string) (key gossh.Signer, created bool, err error) {
	key, err = loadHostKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if err = createHostKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("create host key: %w", err)
	}
	created = err == nil
	key, err = loadHostKey(path)
	return key, created, err
}

func loadHostKey(path string) (gossh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read host key %s: mode %04o lets others in, want 0600", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, err := gossh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("read host key %s: %w", path, err)
	}
	return key, nil
}

// createHostKey links a complete, synced file into place: unlike a rename, a
// link never replaces a key another process made meanwhile.
func createHostKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := gossh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".host-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(pem.Encode(f, block), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The private keys that a daemon makes at its first start, in the directory keys
// of the state.
const (
	hostKeyFile    = "ssh_host_ed25519_key"
	signingKeyFile = "signing.asc"
)

func (c *Config) keyFile(name string) Path { return Path(filepath.Join(string(c.State), "keys", name)) }

// CheckHostKeys returns an *Error for a file of Receive.HostKeys that is missing,
// unless it is the default one.
func (c *Config) CheckHostKeys() error {
	for _, file := range c.Receive.HostKeys {
		if err := c.checkKeyFile("receive.host_keys", file, hostKeyFile); err != nil {
			return err
		}
	}
	return nil
}

// CheckSigningKey is CheckHostKeys for Serve.SigningKey.
func (c *Config) CheckSigningKey() error {
	return c.checkKeyFile("serve.signing_key", c.Serve.SigningKey, signingKeyFile)
}

// checkKeyFile has a file be there that a person named: to make a key where one
// was mistyped, or is not mounted, would give the server another identity.
func (c *Config) checkKeyFile(key string, file Path, made string) error {
	if file == c.keyFile(made) {
		return nil
	}
	if _, err := os.Stat(string(file)); errors.Is(err, fs.ErrNotExist) {
		return refuse(key, string(file), "a file that is there; only the default one is made")
	}
	return nil
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"serene/sshd"
)

func TestAuthKey(t *testing.T) {
	const (
		key         = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
		fingerprint = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
	)
	for info, want := range map[string]string{
		"publickey " + key + "\n":              fingerprint,
		"hostbased x\npublickey " + key + "\n": fingerprint,
		"password\n":                           "",
		"publickey not a key\n":                "",
		"":                                     "",
	} {
		file := filepath.Join(t.TempDir(), "auth")
		if err := os.WriteFile(file, []byte(info), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := authKey(file)
		if (err == nil) != (want != "") || err == nil && sshd.Fingerprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", info, got, err, want)
		}
	}
	for _, file := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		if got, err := authKey(file); err == nil {
			t.Errorf("%q: %s", file, got)
		}
	}
}

func TestRemoteOf(t *testing.T) {
	for connection, want := range map[string]string{
		"127.0.0.1 5000 127.0.0.1 22": "127.0.0.1:5000",
		"::1 5000 ::1 22":             "[::1]:5000",
		"":                            "",
	} {
		if got := remoteOf(connection); got != want {
			t.Errorf("%q: %q, want %q", connection, got, want)
		}
	}
}

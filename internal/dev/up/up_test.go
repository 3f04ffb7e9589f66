package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpOnce is what the README tells a newcomer to do first. The person has a
// key of their own, which is let in as well.
func TestUpOnce(t *testing.T) {
	home := t.TempDir()
	key := filepath.Join(home, ".ssh", "id_ed25519")
	if err := os.Mkdir(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	cmd := exec.Command("make", "up", "UP_ONCE=1")
	cmd.Dir = "../../.."
	cmd.Env = append(environment(), goEnvironment(t)...)
	cmd.Env = append(cmd.Env, "HOME="+home, "XDG_CACHE_HOME="+cache(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make up UP_ONCE=1: %v\n%s", err, out)
	}
	for _, want := range []string{
		"published serene/x86_64 hello-serene 1.0-1 gen ",
		"pacman installed hello-serene 1.0-1\n",
		"[serene]\nSigLevel = Required DatabaseRequired\nServer = https://127.0.0.1:",
		"==> [verdict] done\n",
		"pacman installed built-serene 1.0-1\n",
		" build -f -\n",
		key + ".pub may log in as well",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// environment is this process's own, without what a make above it has set.
func environment() (env []string) {
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "MAKE") && !strings.HasPrefix(line, "MFLAGS=") {
			env = append(env, line)
		}
	}
	return env
}

// goEnvironment keeps the caches in use, as another HOME would mean others.
func goEnvironment(t *testing.T) []string {
	t.Helper()
	keys := []string{"GOCACHE", "GOMODCACHE", "GOPATH"}
	out, err := exec.Command("go", append([]string{"env"}, keys...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, key := range keys {
		env[i] = key + "=" + env[i]
	}
	return env
}

// cache is where the image of builds is kept, by every test that has one.
func cache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Package systemd_test holds what must stay true of the unit files.
package systemd_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxExposure is systemd's own measure of what a broken-into service could
// reach, from 0 (nothing) to 10, times ten as its JSON policy counts it.
const maxExposure = "20"

func TestExposure(t *testing.T) {
	for _, unit := range files(t, "*.service") {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager",
			"--threshold="+maxExposure, "./"+unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s is more exposed than %s/10: %v\n%s", unit, maxExposure, err, out)
		}
	}
}

// TestVerify has systemd read the units. They name the daemons without a path,
// and verify wants to see the programs, so it is shown copies with a path.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "serene-daemon")
	write(t, program, "#!/bin/sh\n", 0o755)
	args := []string{"verify", "--man=no"}
	for _, unit := range append(files(t, "*.service"), files(t, "*.socket")...) {
		lines := strings.Split(read(t, unit), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "ExecStart=serene-") {
				_, rest, _ := strings.Cut(line, " ")
				lines[i] = "ExecStart=" + program + " " + rest
			}
		}
		path := filepath.Join(dir, unit)
		write(t, path, strings.Join(lines, "\n"), 0o644)
		args = append(args, path)
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUsersAndPaths has systemd make the users and the state directory, in a
// root of its own.
func TestUsersAndPaths(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"etc", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "systemd-sysusers", "--root="+root, abs(t, "sysusers.d/serene.conf"))
	passwd, group := read(t, filepath.Join(root, "etc/passwd")), read(t, filepath.Join(root, "etc/group"))
	for _, user := range []string{"serene-receive", "serene-serve", "serene-build"} {
		if !strings.Contains(passwd, user+":") {
			t.Errorf("no user %s:\n%s", user, passwd)
		}
	}
	if !strings.Contains(group, ":serene-build,serene-receive,serene-serve\n") {
		t.Errorf("the three do not share a group:\n%s", group)
	}
	// fakeroot, as whoever runs the tests may not be able to give files away.
	run(t, "fakeroot", "systemd-tmpfiles", "--create", "--root="+root, abs(t, "tmpfiles.d/serene.conf"))
	for path, mode := range map[string]os.FileMode{
		"":                os.ModeDir | os.ModeSetgid | os.ModeSticky | 0o770,
		"keys":            os.ModeDir | os.ModeSetgid | os.ModeSticky | 0o770,
		"staging":         os.ModeDir | os.ModeSetgid | 0o770,
		"inbox":           os.ModeDir | os.ModeSetgid | 0o770,
		"repos":           os.ModeDir | os.ModeSetgid | 0o750,
		"builds":          os.ModeDir | os.ModeSetgid | 0o750,
		"build":           os.ModeDir | 0o700,
		"sources":         os.ModeDir | 0o700,
		"authorized_keys": 0o600,
		"serene.toml":     0o640,
	} {
		fi, err := os.Stat(filepath.Join(root, "var/lib/serene", path))
		if err != nil {
			t.Error(err)
		} else if fi.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", path, fi.Mode(), mode)
		}
	}
}

// TestEveryLineSaysWhy keeps the promise that each directive is explained.
func TestEveryLineSaysWhy(t *testing.T) {
	for _, unit := range append(files(t, "*.service"), files(t, "*.socket")...) {
		var above string
		for lines := bufio.NewScanner(strings.NewReader(read(t, unit))); lines.Scan(); {
			line := lines.Text()
			directive := strings.Contains(line, "=") && !strings.HasPrefix(line, "#")
			if directive && !strings.HasPrefix(above, "#") {
				t.Errorf("%s: no comment above %s", unit, line)
			}
			above = line
		}
	}
}

// TestKeyIsOutOfReach: of all the settings this is the one that must not go.
func TestKeyIsOutOfReach(t *testing.T) {
	for _, unit := range []string{"serene-receive.service", "serene-build.service"} {
		if !strings.Contains(read(t, unit), "\nInaccessiblePaths=-/var/lib/serene/keys/signing.asc") {
			t.Errorf("%s can reach the signing key", unit)
		}
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %d files", pattern, err, len(found))
	}
	return found
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func abs(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

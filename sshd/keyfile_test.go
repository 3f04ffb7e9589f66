package sshd

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func openKeys(t *testing.T, text string, check func(string) error) (k *KeyFile, path string, log *syncBuffer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "authorized_keys")
	writeFile(t, path, text)
	log = new(syncBuffer)
	return OpenKeyFile(path, check, slog.New(slog.NewTextHandler(log, nil))), path, log
}

func TestIdentity(t *testing.T) {
	key := newKey(t)
	k, _, _ := openKeys(t, "# first\n\ncommand=\"serene-receive --package 'a \\\"b\\\"'\" "+key.public()+"  ci @ example \n", nil)
	id, err := k.Authorize("any", loopback, key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if id.Line != 3 || id.Comment != "ci @ example" || !id.HasCommand || id.Command != `serene-receive --package 'a "b"'` ||
		id.Fingerprint != Fingerprint(key.PublicKey()) || id.Authority != "" {
		t.Errorf("got %+v", id)
	}
}

func TestCertificateIdentity(t *testing.T) {
	c := newCast(t)
	r := row{file: "cert-authority CA the ca", cert: option("force-command", "forced")}
	k, _, _ := openKeys(t, c.text(r), nil)
	id, err := k.Authorize(c.me, loopback, c.signer(t, r).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if id.Fingerprint != Fingerprint(c.key.PublicKey()) || id.Authority != Fingerprint(c.ca.PublicKey()) ||
		id.KeyID != "the id" || id.Comment != "the ca" || id.Command != "forced" {
		t.Errorf("got %+v", id)
	}
}

// onlyPush understands one forced command.
func onlyPush(command string) error {
	if command != "push" {
		return errors.New("unknown rights")
	}
	return nil
}

func TestForcedCommandsAreChecked(t *testing.T) {
	c := newCast(t)
	k, _, log := openKeys(t, c.text(row{file: "command=\"psuh\" KEY\ncommand=\"push\" OTHER\nKEY\ncert-authority CA"}), onlyPush)
	if _, err := k.Authorize("", loopback, c.key.PublicKey()); err == nil {
		t.Error("the key of a line that is not understood came in by a later line, with all rights")
	}
	if _, err := k.Authorize("", loopback, c.other.PublicKey()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "line=1") || !strings.Contains(log.String(), "unknown rights") {
		t.Errorf("the log says nothing of line 1:\n%s", log)
	}
	for command, want := range map[string]bool{"push": true, "psuh": false} {
		cert := c.signer(t, row{cert: option("force-command", command)}).PublicKey()
		if _, err := k.Authorize(c.me, loopback, cert); (err == nil) != want {
			t.Errorf("certificate forcing %s: %v", command, err)
		}
	}
}

func TestUnknownKeyIsToldApart(t *testing.T) {
	c := newCast(t)
	k, _, _ := openKeys(t, c.text(row{file: `from="10.0.0.1" KEY`}), nil)
	if _, err := k.Authorize("", loopback, c.other.PublicKey()); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := k.Authorize("", loopback, c.key.PublicKey()); err == nil || errors.Is(err, ErrUnknownKey) {
		t.Errorf("key from elsewhere: %v", err)
	}
}

func TestKeyFileFollowsTheFile(t *testing.T) {
	a, b := newKey(t), newKey(t)
	k, path, _ := openKeys(t, a.public()+"\n", nil)
	admitted := func() (keys []bool) {
		for _, key := range []testKey{a, b} {
			_, err := k.Authorize("", loopback, key.PublicKey())
			keys = append(keys, err == nil)
		}
		return keys
	}
	for _, step := range []struct {
		name   string
		change func()
		want   []bool
		news   bool
	}{
		{"as opened", func() {}, []bool{true, false}, false},
		{"written over, same size", func() { writeFile(t, path, b.public()+"\n") }, []bool{false, true}, true},
		{"touched", func() { _ = os.Chtimes(path, time.Time{}, time.Now()) }, []bool{false, true}, false},
		{"settled", func() { _ = os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)) }, []bool{false, true}, false},
		{"written over, old times put back", func() {
			writeFile(t, path, a.public()+"\n")
			_ = os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))
		}, []bool{true, false}, true},
		{"replaced", func() {
			writeFile(t, path+".new", a.public()+"\n"+b.public()+"\n")
			_ = os.Rename(path+".new", path)
		}, []bool{true, true}, true},
		{"writable by all", func() { _ = os.Chmod(path, 0o602) }, []bool{false, false}, true},
		{"private again", func() { _ = os.Chmod(path, 0o600) }, []bool{true, true}, true},
		{"removed", func() { _ = os.Remove(path) }, []bool{false, false}, true},
		{"still gone", func() {}, []bool{false, false}, false},
		{"back", func() { writeFile(t, path, b.public()) }, []bool{false, true}, true},
	} {
		before := k.Version()
		step.change()
		if got := admitted(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
		if news := k.Version() != before; news != step.news {
			t.Errorf("%s: version changed: %v", step.name, news)
		}
	}
}

func TestKeyFilePlace(t *testing.T) {
	key := newKey(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(open, "keys"), key.public())
	huge := filepath.Join(dir, "huge")
	writeFile(t, huge, key.public())
	if err := os.Truncate(huge, maxKeyFile+1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, filepath.Join(open, "keys"), huge, filepath.Join(dir, "none")} {
		k := OpenKeyFile(path, nil, slog.New(slog.DiscardHandler))
		if _, err := k.Authorize("", loopback, key.PublicKey()); err == nil {
			t.Errorf("%s admits", filepath.Base(path))
		}
		if err := k.Reload(); err == nil {
			t.Errorf("reload of %s says nothing", filepath.Base(path))
		}
	}
}

func TestReloadAsksAboutCommandsAgain(t *testing.T) {
	key := newKey(t)
	understood := false
	k, _, _ := openKeys(t, `command="x" `+key.public(), func(string) error {
		if !understood {
			return errors.New("not yet")
		}
		return nil
	})
	if _, err := k.Authorize("", loopback, key.PublicKey()); err == nil {
		t.Error("admitted too early")
	}
	understood = true
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Authorize("", loopback, key.PublicKey()); err != nil {
		t.Error(err)
	}
}

func TestLinesShowEverything(t *testing.T) {
	c := newCast(t)
	k, _, _ := openKeys(t, c.text(row{file: "# none\nKEY one\nbad KEY\n\nfrom=\"10.0.0.0/8\",expiry-time=\"20991231Z\" OTHER\nrubbish"}), nil)
	lines := k.Lines()
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4", len(lines))
	}
	one, bad, other, rubbish := lines[0], lines[1], lines[2], lines[3]
	if one.Number != 2 || one.Comment != "one" || one.Err != nil {
		t.Errorf("line 2: %+v", one)
	}
	if bad.Number != 3 || bad.Err == nil || bad.Key == nil {
		t.Errorf("line 3: %+v", bad)
	}
	if other.Number != 5 || other.Options.From != "10.0.0.0/8" || !other.Options.Expiry.Equal(time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("line 5: %+v", other)
	}
	if rubbish.Number != 6 || rubbish.Err == nil || rubbish.Key != nil {
		t.Errorf("line 6: %+v", rubbish)
	}
}

func TestHostKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ssh_host_ed25519_key")
	made, created, err := LoadOrCreateHostKey(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	read, created, err := LoadOrCreateHostKey(path)
	if err != nil || created || Fingerprint(read.PublicKey()) != Fingerprint(made.PublicKey()) {
		t.Fatal(created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateHostKey(path); err == nil {
		t.Error("a key others can read was taken")
	}
	broken := filepath.Join(t.TempDir(), "key")
	writeFile(t, broken, "not a key")
	if _, _, err := LoadOrCreateHostKey(broken); err == nil || readFile(t, broken) != "not a key" {
		t.Errorf("a broken key was replaced, or taken: %v", err)
	}
}

func TestHostKeyIsOpenSSHs(t *testing.T) {
	dir := t.TempDir()
	key, _, err := LoadOrCreateHostKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		if _, _, err := LoadOrCreateHostKey(keygen(t, dir, kind, "-t"+kind)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	out := sshKeygen(t, "-l", "-f", filepath.Join(dir, "key"))
	if !strings.Contains(out, Fingerprint(key.PublicKey())) {
		t.Errorf("ssh-keygen says %s", out)
	}
}

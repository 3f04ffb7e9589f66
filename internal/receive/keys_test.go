package receive

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"serene/sshd"
)

// publicKey makes a key, and returns its line and fingerprint.
func publicKey(t testing.TB, comment string) (line, fingerprint string) {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))) + " " + comment, sshd.Fingerprint(key)
}

// keyWorld is a world whose caller's key is on the first line of a file.
type keyWorld struct {
	*world
	file     string
	mine     string // fingerprint of the caller's key
	line     string
	notified int
}

func newKeyWorld(t testing.TB, options string) *keyWorld {
	t.Helper()
	w := &keyWorld{world: newWorld(t, false)}
	w.file = filepath.Join(w.state, "authorized_keys")
	w.line, w.mine = publicKey(t, "admin@example")
	w.Receiver.AuthorizedKeys = w.file
	w.Receiver.KeysChanged = func() { w.notified++ }
	w.write("# who may come in\n\n", strings.TrimSpace(options+" "+w.line)+"\n")
	return w
}

func (w *keyWorld) write(lines ...string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(strings.Join(lines, "")), 0o640); err != nil {
		w.t.Fatal(err)
	}
}

func (w *keyWorld) read() string {
	w.t.Helper()
	data, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// by runs a verb as the caller's own key, with rights.
func (w *keyWorld) by(rights, stdin string, argv ...string) result {
	w.t.Helper()
	var out, err strings.Builder
	by := Caller{Key: w.mine, Comment: "admin@example", Rights: mustRights(w.t, "serene-receive "+rights)}
	code := w.Run(w.t.Context(), by, argv, Streams{strings.NewReader(stdin), &out, &err})
	return result{code, out.String(), err.String()}
}

func TestKeysList(t *testing.T) {
	w := newKeyWorld(t, "")
	ci, ciPrint := publicKey(t, "ci@example")
	old, oldPrint := publicKey(t, "")
	w.write(w.read(), `from="10.0.0.0/8",expiry-time="20400102Z",command="serene-receive --allow push --package 'linux-*'" `, ci, "\n",
		"# gone soon\n", `environment="X=1" `, old, "\nnonsense\n")
	r := w.must(w.by("", "", "keys"))
	want := "3 " + w.mine + " admin@example all rights\n" +
		"4 " + ciPrint + " ci@example --allow push --package linux-* from=10.0.0.0/8 expires=2040-01-02T00:00:00Z\n" +
		"6 " + oldPrint + ` - UNUSABLE: unknown option "environment"` + "\n" +
		"7 - - UNUSABLE: no key: want [options] type base64 [comment]\n"
	if r.out != want {
		t.Errorf("got\n%swant\n%s", r.out, want)
	}
	rows := objects(t, w.must(w.by("", "", "keys", "--json")).out)
	if len(rows) != 4 || rows[1]["comment"] != "ci@example" || rows[2]["unusable"] == "" || rows[3]["line"] != 7.0 {
		t.Errorf("%v", rows)
	}
	w.want(w.by("--allow read", "", "keys"), exitDenied, "keys: not allowed: this key has --allow read")
}

func TestKeysAdd(t *testing.T) {
	w := newKeyWorld(t, "")
	before := strings.TrimSuffix(w.read(), "\n") // a file without a newline at its end
	w.write(before)
	key, print := publicKey(t, "laptop")
	r := w.must(w.by("", key+"\n", "keys", "add", "--allow", "push,pull", "--package", "linux-*", "--package", "foo",
		"--repo", "testing", "--max-size", "500MiB", "--rate", "60/h", "--expiry", "20400102Z", "--from", "10.0.0.0/8,!10.1.1.1", "--comment", "ci at example"))
	want := `restrict,command="serene-receive --allow push,pull --repo testing --package 'linux-*,foo' --max-size 500MiB --rate 60/h",` +
		`from="10.0.0.0/8,!10.1.1.1",expiry-time="20400102Z" ` + strings.TrimSuffix(key, "laptop") + "ci at example\n"
	if got := w.read(); got != before+"\n"+want {
		t.Errorf("got\n%swant\n%s", got, before+"\n"+want)
	}
	if !strings.HasPrefix(r.out, "4 "+print+" ci at example --allow push,pull --repo testing ") {
		t.Errorf("printed %s", r.out)
	}
	if info, err := os.Stat(w.file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if w.notified != 1 {
		t.Errorf("the server was told %d times", w.notified)
	}
	w.want(w.by("", key, "keys", "add", "--allow", "all"), exitConflict, "keys "+print+": is there already, on line 4")
	if got := w.must(w.by("", "", "keys", "--json")).out; strings.Contains(got, "unusable") {
		t.Error(got)
	}
}

func TestKeysAddRefuses(t *testing.T) {
	w := newKeyWorld(t, "")
	key, _ := publicKey(t, "x")
	before := w.read()
	for _, tt := range []struct {
		stdin string
		code  int
		argv  []string
	}{
		{key, exitUsage, nil},
		{"", exitUsage, []string{"--allow", "all"}},
		{key, exitUsage, []string{"--allow", "everything"}},
		{key, exitUsage, []string{"--allow", "push,"}},
		{key, exitUsage, []string{"--allow", "all", "--expiry", "tomorrow"}},
		{key, exitUsage, []string{"--allow", "all", "--from", `10.0.0.0/8",command="sh`}},
		{key, exitUsage, []string{"--allow", "all", "--package", `a'b`}},
		{key, exitUsage, []string{"--allow", "all", "--package", "a b"}},
		{key, exitUsage, []string{"--allow", "all", "--comment", "two\nlines"}},
		{key + "\n" + key, exitContent, []string{"--allow", "all"}},
		{`command="sh" ` + key, exitContent, []string{"--allow", "all"}},
		{"restrict " + key, exitContent, []string{"--allow", "all"}},
		{"ssh-ed25519 AAAA x", exitContent, []string{"--allow", "all"}},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\n", exitContent, []string{"--allow", "all"}},
		{strings.Repeat("x", 1<<20), exitContent, []string{"--allow", "all"}},
	} {
		r := w.by("", tt.stdin, append([]string{"keys", "add"}, tt.argv...)...)
		if r.code != tt.code || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%q: exit code %d: %s", tt.argv, r.code, r.err)
		}
	}
	w.want(w.by("", "", "keys", "--allow", "push"), exitUsage, "keys: --allow is for add; usage: keys "+theVerb("keys").synopsis)
	if got := w.read(); got != before || w.notified != 0 {
		t.Errorf("changed to\n%s", got)
	}
}

func TestNewKeyHasNoMoreThanItsAdder(t *testing.T) {
	const all = "--allow all"
	for _, tt := range []struct {
		rights, grant, want string // "" is granted
	}{
		{"", all, ""},
		{"--repo testing", all + " --repo testing", ""},
		{"--repo testing", all, "--repo"},
		{"--repo testing", all + " --repo testing,serene", "--repo testing,serene is more"},
		{"--allow keys,read", "--allow read", ""},
		{"--allow keys,read", "--allow list", ""},
		{"--allow keys,read", "--allow push", "--allow push is more"},
		{"--allow keys,list", "--allow read", "--allow read is more"},
		{"--allow keys,read", all, "--allow"},
		{"--package 'linux-*,foo'", all + " --package linux-*", ""},
		{"--package 'linux-*,foo'", all + " --package linux-zen", ""},
		{"--package 'linux-*,foo'", all + " --package linux-z*", "--package linux-z* is more"},
		{"--package 'linux-*,foo'", all, "--package"},
		{"--arch x86_64", all + " --arch aarch64", "--arch aarch64 is more"},
		{"--max-size 1MiB", all + " --max-size 1MiB", ""},
		{"--max-size 1MiB", all + " --max-size 2MiB", "1MiB itself"},
		{"--max-size 1MiB", all, "1MiB itself"},
		{"--rate 600/h", all + " --rate 60/h", ""},
		{"--rate 60/h", all + " --rate 61/h", "60/h itself"},
		{"--rate 60/h", all + " --rate 60/m", "60/h itself"},
		{"--rate 60/h", all, "60/h itself"},
	} {
		w := newKeyWorld(t, "")
		key, _ := publicKey(t, "x")
		r := w.by(tt.rights, key, append([]string{"keys", "add"}, strings.Fields(tt.grant)...)...)
		switch {
		case tt.want == "" && r.code != exitOK:
			t.Errorf("%q adds %q: exit code %d: %s", tt.rights, tt.grant, r.code, r.err)
		case tt.want != "" && (r.code != exitDenied || !strings.Contains(r.err, tt.want)):
			t.Errorf("%q adds %q: exit code %d: %s", tt.rights, tt.grant, r.code, r.err)
		}
	}
}

// Where and for how long the adder may log in binds the new key as well.
func TestNewKeyInheritsConditions(t *testing.T) {
	w := newKeyWorld(t, `from="10.0.0.0/8",expiry-time="20400102Z"`)
	for _, tt := range []struct {
		argv []string
		code int
		want string // in the new line
	}{
		{nil, exitOK, `from="10.0.0.0/8",expiry-time="20400102000000Z" `},
		{[]string{"--expiry", "20300102Z"}, exitOK, `expiry-time="20300102Z"`},
		{[]string{"--expiry", "20400103Z"}, exitDenied, ""},
		{[]string{"--from", "*"}, exitDenied, ""},
		{[]string{"--from", "10.0.0.0/8"}, exitOK, `from="10.0.0.0/8"`},
	} {
		key, _ := publicKey(t, "x")
		r := w.by("", key, append([]string{"keys", "add", "--allow", "all"}, tt.argv...)...)
		if r.code != tt.code {
			t.Errorf("%q: exit code %d: %s", tt.argv, r.code, r.err)
		}
		if added := w.read(); tt.code == exitOK && !strings.Contains(added, tt.want) {
			t.Errorf("%q: %s", tt.argv, added)
		}
	}
	key, print := publicKey(t, "x")
	w.mine = "openssh"
	w.want(w.by("", key, "keys", "add", "--allow", "all"), exitDenied,
		"keys "+print+": only a key with a line of its own in authorized_keys can add others")
}

func TestRevoke(t *testing.T) {
	w := newKeyWorld(t, "")
	admin := w.read()
	key, print := publicKey(t, "laptop")
	w.write(admin, "# laptop, twice\n", key, "\n", `restrict `, key, "\n# the end\n")
	r := w.must(w.by("", "", "revoke", strings.TrimPrefix(print, "SHA256:")))
	if r.out != "revoked 5 "+print+" laptop all rights\nrevoked 6 "+print+" laptop all rights\n" {
		t.Errorf("printed %s", r.out)
	}
	if got, want := w.read(), admin+"# laptop, twice\n# the end\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if w.notified != 1 {
		t.Errorf("the server was told %d times", w.notified)
	}
	w.want(w.by("", "", "revoke", print), exitNotFound, "revoke "+print+": no such key")
	w.want(w.by("", "", "revoke", w.mine), exitConflict, "revoke "+w.mine+": that is the key you came with; come with another to take it out")
}

func TestRevokeOfGreaterKey(t *testing.T) {
	w := newKeyWorld(t, "")
	owner, ownerPrint := publicKey(t, "owner")
	faulty, faultyPrint := publicKey(t, "faulty")
	small, smallPrint := publicKey(t, "small")
	w.write(w.read(), owner, "\n", `command="serene-receive --alow push" `, faulty, "\n",
		`command="serene-receive --allow push --repo testing" `, small, "\n")
	for _, print := range []string{ownerPrint, faultyPrint} {
		w.want(w.by("--repo testing", "", "revoke", print), exitDenied, "revoke "+print+": that key may do more than yours")
	}
	w.must(w.by("--repo testing", "", "revoke", smallPrint))
	w.must(w.by("", "", "revoke", faultyPrint))
}

// Many edits at once all happen, and the file is whole at any time.
func TestKeyEditsTakeTurns(t *testing.T) {
	w := newKeyWorld(t, "")
	const n = 16
	var wg sync.WaitGroup
	w.Receiver.KeysChanged = nil
	for range n {
		key, _ := publicKey(t, "x")
		wg.Go(func() {
			if r := w.by("", key, "keys", "add", "--allow", "read"); r.code != exitOK {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
		})
	}
	wg.Wait()
	if got := strings.Count(w.read(), "restrict,"); got != n {
		t.Errorf("%d of %d keys are there", got, n)
	}
}

func TestKeyFileKeepsItsLink(t *testing.T) {
	w := newKeyWorld(t, "")
	real := filepath.Join(t.TempDir(), "keys")
	if err := os.Rename(w.file, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, w.file); err != nil {
		t.Fatal(err)
	}
	key, _ := publicKey(t, "x")
	w.must(w.by("", key, "keys", "add", "--allow", "read"))
	if _, err := os.Readlink(w.file); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.read(), key) {
		t.Error("the key is not there")
	}
}

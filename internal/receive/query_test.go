package receive

import (
	"archive/tar"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm/alpmtest"
)

// stocked is a world with packages in it.
func stocked(t *testing.T) *world {
	w := newWorld(t, true)
	w.push("foo", "1-1", alpmtest.Desc("a first thing"))
	w.push("linux-zen", "6-1", alpmtest.Desc("kernel"))
	w.push("any", "1-1", alpmtest.Arch("any"))
	return w
}

func objects(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, o)
	}
	return all
}

func TestList(t *testing.T) {
	w := stocked(t)
	const x, a = "serene/x86_64 ", "serene/aarch64 "
	for _, tt := range []struct{ rights, argv, want string }{
		{"", "list", x + "any 1-1\n" + x + "foo 1-1\n" + x + "linux-zen 6-1\n" + a + "any 1-1\n"},
		{"", "list --arch aarch64", a + "any 1-1\n"},
		{"", "list --repo testing", ""},
		{"--arch aarch64", "list", a + "any 1-1\n"},
		{"--package linux-*", "list", x + "linux-zen 6-1\n"},
		{"--repo testing", "list", ""},
		{"", "search LINUX", x + "linux-zen 6-1\n    kernel\n"},
		{"", "search thing first", x + "foo 1-1\n    a first thing\n"},
		{"--package linux-*", "search thing", ""},
		{"", "search nothing", ""},
	} {
		r := w.must(w.as(tt.rights, "", strings.Fields(tt.argv)...))
		if r.out != tt.want {
			t.Errorf("%s (%s):\n%swant:\n%s", tt.argv, tt.rights, r.out, tt.want)
		}
	}
	rows := objects(t, w.must(w.do("", "list", "--json", "--arch", "aarch64")).out)
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	for key, want := range map[string]any{"name": "any", "base": "any", "version": "1-1", "arch": "aarch64", "repo": "serene", "filename": "any-1-1-any.pkg.tar.zst"} {
		if rows[0][key] != want {
			t.Errorf("%s is %v, want %v", key, rows[0][key], want)
		}
	}
	if rows[0]["gen"].(float64) < 1 || len(rows[0]["sha256"].(string)) != 64 {
		t.Errorf("row %v", rows[0])
	}
}

// TestAbsent asks that what a key may not see cannot be told from what is not
// there.
func TestAbsent(t *testing.T) {
	w := stocked(t)
	limited := "--allow read --repo serene --package linux-* --arch x86_64"
	for _, tt := range []struct{ argv, want string }{
		{"info foo", "info foo: no such package in serene"},
		{"files foo", "files foo: no such package in serene"},
		{"pull foo", "pull foo: no such package in serene"},
		{"pull --tar linux-zen foo", "pull foo: no such package in serene"},
		{"info --repo testing foo", "info foo: no repository testing"},
		{"info --repo nowhere foo", "info foo: no repository nowhere"},
		{"list --arch aarch64", "list: no repository serene/aarch64"},
		{"list --arch nowhere", "list: no repository serene/nowhere"},
		{"pull --path serene/x86_64/foo-1-1-x86_64.pkg.tar.zst", "pull serene/x86_64/foo-1-1-x86_64.pkg.tar.zst: no such file"},
		{"pull --path serene/x86_64/foo-1-1-x86_64.pkg.tar.zst.sig", "pull serene/x86_64/foo-1-1-x86_64.pkg.tar.zst.sig: no such file"},
		{"pull --path serene/x86_64/serene.db", "pull serene/x86_64/serene.db: no such file"},
		{"pull --path testing/x86_64/testing.db", "pull testing/x86_64/testing.db: no such file"},
		{"pull --path serene/aarch64/serene.db", "pull serene/aarch64/serene.db: no such file"},
	} {
		w.want(w.as(limited, "", strings.Fields(tt.argv)...), exitNotFound, tt.want)
	}
	w.must(w.as(limited, "", "info", "linux-zen"))
}

func TestInfo(t *testing.T) {
	w := stocked(t)
	r := w.must(w.do("", "info", "foo"))
	for _, line := range []string{"Repository      : serene/x86_64\n", "Name            : foo\n", "Version         : 1-1\n", "Description     : a first thing\n"} {
		if !strings.Contains(r.out, line) {
			t.Errorf("no %q in\n%s", line, r.out)
		}
	}
	rows := objects(t, w.must(w.do("", "info", "any", "--json")).out)
	if len(rows) != 2 || rows[1]["arch"] != "aarch64" || rows[1]["pkgarch"] != "any" || rows[1]["name"] != "any" {
		t.Errorf("rows %v", rows)
	}
	w.want(w.do("", "info", "fooo"), exitNotFound, "info fooo: no such package in serene: did you mean foo?")
	w.want(w.do("", "info"), exitUsage, "info: no NAME given; usage: info "+verbNamed(t, "info").synopsis)
}

func TestFiles(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1", alpmtest.With(alpmtest.Dir("usr"), alpmtest.File("usr/x y", "1")))
	r := w.must(w.do("", "files", "foo"))
	if !strings.Contains(r.out, "\nusr/x y\n") {
		t.Errorf("files:\n%s", r.out)
	}
	rows := objects(t, w.must(w.do("", "files", "foo", "--json")).out)
	if last := rows[len(rows)-1]; last["path"] != "usr/x y" || last["name"] != "foo" || last["repo"] != "serene" {
		t.Errorf("row %v", last)
	}
}

func TestPull(t *testing.T) {
	w := stocked(t)
	data, file := alpmtest.Package("foo", "1-1", alpmtest.Desc("a first thing"))
	if r := w.must(w.do("", "pull", "foo")); r.out != string(data) {
		t.Error("pull foo gave other bytes")
	}
	if r := w.must(w.do("", "pull", "--path", "serene/x86_64/"+file)); r.out != string(data) {
		t.Error("pull --path gave other bytes")
	}
	db := w.must(w.do("", "pull", "--path", "/serene/x86_64/serene.db"))
	gen := strings.Fields(w.must(w.do("", "status", "--repo", "serene", "--arch", "x86_64")).out)[2]
	if same := w.must(w.do("", "pull", "--path", "serene/x86_64/gen/"+gen+"/serene.db")); same.out != db.out || db.out == "" {
		t.Error("the database of the generation differs")
	}
	for _, path := range []string{"", "/", "x", "serene/x86_64", "serene/x86_64/gen/1", "serene/x86_64/gen/x/serene.db", "serene/x86_64/../../keys/signing.asc", "../keys/signing.asc", "serene/x86_64/journal.jsonl", "serene/x86_64/.."} {
		if r := w.do("", "pull", "--path="+path); r.code != exitNotFound && r.code != exitUsage || r.out != "" {
			t.Errorf("%q: exit code %d: %s", path, r.code, r.err)
		}
	}
	arm, armFile := alpmtest.Package("foo", "1-1", alpmtest.Arch("aarch64"))
	w.must(w.do(string(arm), "push", armFile))
	w.want(w.do("", "pull", "foo"), exitUsage, "pull foo: foo is in x86_64 and aarch64: say --arch")
	if r := w.must(w.do("", "pull", "foo", "--arch", "aarch64")); r.out != string(arm) {
		t.Error("pull --arch gave other bytes")
	}
	for path, want := range map[string]string{
		"serene/x86_64/" + file:            file + " " + file + ".sig",
		"/serene/x86_64/serene.db.tar.zst": "serene.db.tar.zst serene.db.tar.zst.sig",
		"serene/x86_64/serene.files":       "serene.files serene.files.sig",
	} {
		if got := strings.Join(namesInTar(t, w.must(w.do("", "pull", "--tar", "--path", path)).out), " "); got != want {
			t.Errorf("pull --tar --path %s: %s", path, got)
		}
	}
	for _, path := range []string{"x", "serene/x86_64/" + file + ".sig", "nosuch/x86_64/nosuch.db", "serene/x86_64/../../keys"} {
		w.want(w.do("", "pull", "--tar", "--path", path), exitNotFound, "pull "+path+": no such file")
	}
}

func TestHave(t *testing.T) {
	w := stocked(t)
	data, file := alpmtest.Package("foo", "1-1", alpmtest.Desc("a first thing"))
	sum, other := digest(data), digest(nil)
	missing := other + "  " + file + "\n" + other + " *new-1-1-x86_64.pkg.tar.zst\n" + other + "  new-1-1-x86_64.pkg.tar.zst.sig\n"
	r := w.must(w.do(sum+"  "+file+"\n"+sum+" *./out/"+file+"\n"+other+"  "+file+".sig\n"+missing, "have"))
	if r.out != missing {
		t.Errorf("missing:\n%swant:\n%s", r.out, missing)
	}
	r = w.must(w.as("--package linux-*", sum+"  "+file+"\n", "have", "--json"))
	if rows := objects(t, r.out); len(rows) != 1 || rows[0]["sha256"] != sum || rows[0]["filename"] != file {
		t.Errorf("rows %v", rows)
	}
	w.want(w.do("hello\n", "have"), exitContent, "have: line 1 is not one of sha256sum's")
	w.want(w.do(strings.Repeat("x", 20<<10), "have"), exitContent, "have: a line is longer than 16384 bytes")
}

func TestRemove(t *testing.T) {
	w := stocked(t)
	w.want(w.do("", "remove"), exitUsage, "remove: no NAME given; usage: remove "+verbNamed(t, "remove").synopsis)
	w.want(w.do("", "remove", "foo", "nothing"), exitNotFound, "remove foo nothing: no package nothing in serene")
	w.want(w.as("--allow remove --package linux-*", "", "remove", "foo"), exitDenied, "remove foo: not allowed to change foo: this key has --allow remove --package linux-*")
	w.want(w.as("--allow remove --package linux-*", "", "remove", "nothing"), exitDenied, "remove nothing: not allowed to change nothing: this key has --allow remove --package linux-*")
	w.want(w.as("--allow read", "", "remove", "foo"), exitDenied, "remove: not allowed: this key has --allow read")
	w.want(w.as("--arch x86_64", "", "remove", "any"), exitDenied, "remove any: not allowed to change any: this key has --arch x86_64")
	w.empty()
	r := w.must(w.do("", "remove", "foo", "any"))
	if n := strings.Count(r.out, "removed serene/"); n != 3 {
		t.Errorf("receipts:\n%s", r.out)
	}
	if r := w.must(w.do("", "list")); r.out != "serene/x86_64 linux-zen 6-1\n" {
		t.Errorf("left:\n%s", r.out)
	}
}

func TestStatus(t *testing.T) {
	w := stocked(t)
	rows := objects(t, w.must(w.do("", "status", "--json")).out)
	if len(rows) != 6 || rows[0]["repo"] != "serene" || rows[0]["arch"] != "x86_64" || rows[0]["packages"] != 3.0 {
		t.Errorf("rows %v", rows)
	}
	if rows := objects(t, w.must(w.as("--repo testing", "", "status", "--json")).out); len(rows) != 2 {
		t.Errorf("rows %v", rows)
	}
}

func TestHello(t *testing.T) {
	w := stocked(t)
	rows := objects(t, w.must(w.as("--allow push --repo testing --package linux-* --rate 60/h --max-size 5MiB", "", "hello", "--json")).out)
	got, err := json.Marshal(rows[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"key":"SHA256:abc","max_package":1048576,"max_size":5242880,"name":"ci@example","packages":["linux-*"],"rate":"60/h",` +
		`"repos":["testing","testing-debug"],"url":"https://repo.example:8443","verbs":["push","hello","help"],"version":"1.2.3"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r := w.must(w.do("", "hello")); !strings.Contains(r.out, "max-package 1MiB\n") || strings.Contains(r.out, "rate") {
		t.Errorf("hello:\n%s", r.out)
	}
}

func TestHelp(t *testing.T) {
	w := newWorld(t, false)
	r := w.must(w.as("--allow push,pull", ""))
	if !strings.Contains(r.out, "Hello ci@example!") || !strings.Contains(r.out, "\nThis key has --allow push,pull.\n") ||
		!strings.Contains(r.out, "\n  pull ") || strings.Contains(r.out, "\n  remove ") || strings.Contains(r.out, "HOST setup") {
		t.Errorf("help:\n%s", r.out)
	}
	page := w.must(w.do("", "help", "push")).out
	if again := w.must(w.do("", "push", "--help")).out; again != page || !strings.HasPrefix(page, "push FILE|- ") {
		t.Errorf("push --help:\n%s", again)
	}
	if rows := objects(t, w.must(w.do("", "help", "--json")).out); len(rows) != len(verbs()) {
		t.Errorf("%d rows", len(rows))
	}
	w.want(w.do("", "psuh"), exitUsage, `serene: no verb "psuh": did you mean push?`)
	w.want(w.do("", "help", "lst"), exitUsage, `help: no verb "lst": did you mean list?`)
	w.want(w.do("", "a\nb\x1b[31m"), exitUsage, `serene: no verb "a\nb\x1b[31m": help lists them`)
	w.want(w.do("", ""), exitUsage, `serene: no verb "": help lists them`)
	w.want(w.as("--allow push", "", "lst"), exitUsage, `serene: no verb "lst": help lists them`)
}

func TestRateOfKey(t *testing.T) {
	w := newWorld(t, true)
	for range 2 {
		w.must(w.as("--rate 2/d", "", "list"))
	}
	r := w.as("--rate 2/d", "", "list")
	if r.code != exitBusy || !strings.HasPrefix(r.err, "list: this key may do 2/d; try again in 1") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	w.must(w.as("--rate 2/d", "", "hello"))
	w.must(w.as("--rate 3/d", "", "list"))
}

func TestKeyAndSetup(t *testing.T) {
	w := newWorld(t, false)
	w.want(w.do("", "key"), exitBusy, "key: try again later: there is no signing key yet: serene-serve has not started")
	w.startWriter(w.Store)
	key := w.must(w.do("", "key")).out
	if !strings.HasPrefix(key, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n") {
		t.Errorf("key:\n%s", key)
	}
	script := w.must(w.as("--repo testing", "", "setup")).out
	for _, line := range []string{"\nrepos='testing'\n", "\nSigLevel = Required DatabaseRequired\n", "\nurl='https://repo.example:8443'\n", "-----END PGP PUBLIC KEY BLOCK-----\nEND\n"} {
		if !strings.Contains(script, line) {
			t.Errorf("no %q in\n%s", line, script)
		}
	}
	if strings.Contains(script, "testing serene") || strings.Contains(script, "-debug") || strings.Contains(script, "certificate") {
		t.Errorf("setup:\n%s", script)
	}
	rows := objects(t, w.must(w.do("", "setup", "--json")).out)
	if rows[0]["pacman_conf"] == "" || rows[0]["key"] != key || len(rows[0]["fingerprint"].(string)) != 40 {
		t.Errorf("setup: %v", rows[0])
	}
}

// TestSetupShowsItsCertificate asks that a machine is told to trust the
// certificate only where no authority vouches for it.
func TestSetupShowsItsCertificate(t *testing.T) {
	w := newWorld(t, true)
	for _, tt := range []struct {
		file  string
		shown bool
	}{
		{certificateFile(t, true), true},
		{certificateFile(t, false), false},
		{filepath.Join(t.TempDir(), "missing.pem"), false},
	} {
		w.TLSCert = tt.file
		script := w.must(w.do("", "setup")).out
		if shown := strings.Contains(script, "-----END CERTIFICATE-----\nEND\n"); shown != tt.shown {
			t.Errorf("%s: shown %v:\n%s", tt.file, shown, script)
		}
		if named := strings.Contains(script, `step "the server's HTTPS certificate`); named != tt.shown {
			t.Errorf("%s:\n%s", tt.file, script)
		}
	}
}

// certificateFile makes a certificate that is signed by itself, or by another
// key.
func certificateFile(t *testing.T, self bool) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	if !self {
		if _, private, err = ed25519.GenerateKey(nil); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{}, public, private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cert.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNoReposToSee(t *testing.T) {
	w := newWorld(t, false)
	w.want(w.as("--repo elsewhere", "", "list"), exitNotFound, "list: no repository")
	w.want(w.as("--repo elsewhere", "", "status", "--repo", "serene"), exitNotFound, "status: no repository serene")
}

func namesInTar(t *testing.T, data string) (names []string) {
	t.Helper()
	archive := tar.NewReader(strings.NewReader(data))
	for {
		hdr, err := archive.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, hdr.Name)
	}
}

package script_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/dev/openssh"
	"serene/internal/dev/unit"
)

// twin is a second state directory, with the same keys in it, behind a real
// OpenSSH server that is set up as sshd_config.d/serene.conf has it.
type twin struct {
	sshd    *openssh.Sshd
	serve   *unit.Unit
	sockets []*unit.Socket
}

// viaOpenSSH is what the names of the hosts behind OpenSSH end in.
const viaOpenSSH = ".openssh"

// cmdTwin makes the twin of what start has started, and for each key a host
// KEY.openssh: twin KEY….
func (w *world) cmdTwin(ts *testscript.TestScript, neg bool, keys []string) {
	if neg || len(keys) == 0 || w.twin != nil {
		ts.Fatalf("usage: twin KEY…, once")
	}
	dir := w.path("twin")
	w.twin = &twin{}
	ts.Check(os.MkdirAll(filepath.Join(dir, "keys"), 0o700))
	for _, file := range []string{"authorized_keys", "keys/signing.asc", "keys/tls"} {
		out, err := exec.Command("cp", "-a", filepath.Join(w.state(), file), filepath.Join(dir, file)).CombinedOutput()
		if err != nil {
			ts.Fatalf("%s: %v", out, err)
		}
	}
	ts.Check(os.Link(w.path("serene.toml"), filepath.Join(dir, "serene.toml")))
	ts.Check(w.startTwin(ts, dir))
	for _, key := range keys {
		ts.Check(w.ssh.AddHost(key+viaOpenSSH, w.twin.sshd.Addr, "", filepath.Join(w.ssh.Dir, "id_"+key)))
	}
}

func (w *world) startTwin(ts *testscript.TestScript, dir string) (err error) {
	for _, name := range []string{"https", "http", "admin"} {
		socket, err := unit.Listen(name, "127.0.0.1:0")
		if err != nil {
			return err
		}
		w.twin.sockets = append(w.twin.sockets, socket)
	}
	w.twin.serve = w.unit("serene-serve", w.twin.sockets)
	w.twin.serve.Args = []string{"--state", dir}
	ctx, cancel := within()
	defer cancel()
	if err := w.twin.serve.Start(ctx); err != nil {
		return err
	}
	lines, err := sshdConfig(dir)
	if err != nil {
		return err
	}
	w.twin.sshd, err = w.ssh.StartSshdWith(ctx, lines)
	return err
}

// sshdConfig is the file that comes with serene, for this user and directory.
func sshdConfig(dir string) (string, error) {
	text, err := os.ReadFile("../../sshd/sshd_config.d/serene.conf")
	if err != nil {
		return "", err
	}
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(
		"Match User serene", "Match User "+me.Username,
		"AuthorizedKeysCommandUser serene", "AuthorizedKeysCommandUser "+me.Username,
		"/usr/local/bin/serene-receive", daemon("serene-receive"),
		"/var/lib/serene", dir,
	).Replace(string(text)), nil
}

// close ends the twin.
func (t *twin) close(w *world) error {
	var failed []error
	if t.sshd != nil {
		t.sshd.Stop()
	}
	if t.serve != nil {
		failed = append(failed, w.stop(t.serve))
	}
	for _, s := range t.sockets {
		failed = append(failed, s.Close())
	}
	return errors.Join(failed...)
}

// cmdTwice runs a command on both and compares stdout and exit status, and of
// ssh stderr as well: OpenSSH drops what a subsystem says there. With -stdout it
// does not. It is twice [-stdout] [<FILE] PROGRAM ARG…, where @KEY in an argument
// is the host. What follows sees what came of it behind OpenSSH.
func (w *world) cmdTwice(ts *testscript.TestScript, neg bool, args []string) {
	var stdin string
	stdoutOnly := len(args) > 0 && args[0] == "-stdout"
	if stdoutOnly {
		args = args[1:]
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "<") {
		stdin, args = args[0][1:], args[1:]
	}
	if len(args) < 2 || w.twin == nil {
		ts.Fatalf("usage: twice [-stdout] [<FILE] PROGRAM ARG…, after twin")
	}
	ours := w.runOn(ts, stdin, "", args)
	theirs := w.runOn(ts, stdin, viaOpenSSH, args)
	ts.Stdout().Write([]byte(theirs.stdout))
	ts.Stderr().Write([]byte(theirs.stderr))
	a, b := ours.steady(), theirs.steady()
	if stdoutOnly || args[0] != "ssh" {
		a.stderr, b.stderr = "", ""
	}
	if a != b {
		ts.Fatalf("the embedded server says\n%+v\nbut behind OpenSSH it is\n%+v", a, b)
	}
	w.code = theirs.code
	if neg == (theirs.code == 0) {
		ts.Fatalf("exit status %d", theirs.code)
	}
}

type outcome struct {
	stdout, stderr string
	code           int
}

var (
	hostAt  = regexp.MustCompile(`@([a-z]+)`)
	changes = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\d{8}T\d{6}[0-9.]*Z-[0-9a-f]+|stage/[0-9a-z-]+`)
)

// steady is the outcome without what is different each time: times, and names
// made of them.
func (o outcome) steady() outcome {
	o.stdout = changes.ReplaceAllString(o.stdout, "CHANGES")
	o.stderr = changes.ReplaceAllString(strings.ReplaceAll(o.stderr, viaOpenSSH, ""), "CHANGES")
	return o
}

func (w *world) runOn(ts *testscript.TestScript, stdin, door string, args []string) outcome {
	var words []string
	for _, arg := range args[1:] {
		words = append(words, hostAt.ReplaceAllString(arg, "${1}"+door))
	}
	ctx, cancel := within()
	defer cancel()
	if args[0] != "sh" {
		words = append([]string{"-F", w.ssh.Config()}, words...)
	}
	cmd := exec.CommandContext(ctx, args[0], words...)
	cmd.Env = append(os.Environ(), "SSH_CONFIG="+w.ssh.Config())
	cmd.Dir = ts.MkAbs(".")
	if stdin != "" {
		f, err := os.Open(ts.MkAbs(stdin))
		ts.Check(err)
		defer f.Close()
		cmd.Stdin = f
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

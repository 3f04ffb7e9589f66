package sshd

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestExitStatus(t *testing.T) {
	d := openDoor(t, nil)
	for sent, want := range map[string]int{"0": 0, "1": 1, "6": 6, "64": 64, "255": 255, "256": 7, "-1": 7} {
		got := run(t, d.ssh("exit", sent))
		if got.status != want || got.stdout != "out" || got.stderr != "err" {
			t.Errorf("exit %s: %+v, want status %d", sent, got, want)
		}
	}
}

func TestPanicIsStatusSeven(t *testing.T) {
	d := openDoor(t, nil)
	for _, verb := range []string{"panic", "goexit"} {
		if got := run(t, d.ssh(verb)); got.status != 7 {
			t.Errorf("%s: %+v, want status 7", verb, got)
		}
	}
	if log := d.log.String(); !strings.Contains(log, "at the disco") || !strings.Contains(log, "testVerbs") {
		t.Errorf("the log lacks the panic or its stack:\n%s", log)
	}
}

func TestShellRequestRunsTheEmptyCommand(t *testing.T) {
	d := openDoor(t, nil)
	if got := run(t, d.ssh("-T")); got.status != 0 || got.stdout != "hello user the user\n" {
		t.Errorf("without a terminal: %+v", got)
	}
	// On a terminal ssh asks for a pty; its refusal is no reason to hang up.
	terminal := exec.Command("script", "-qec", strings.Join(d.ssh().Args, " "), "/dev/null")
	terminal.Env = append(os.Environ(), "TERM=dumb", "SHELL=/bin/sh")
	if got := run(t, terminal); got.status != 0 || !strings.Contains(got.stdout, "hello user the user") {
		t.Errorf("on a terminal: %+v", got)
	}
}

func TestCommandLineArrivesUnexpanded(t *testing.T) {
	d := openDoor(t, nil)
	got := run(t, d.ssh("echo", `'a  b'`, `"$HOME"`, "`id`", ";", "|", "*", `\;`))
	if want := "[\"a  b\" \"$HOME\" \"`id`\" \";\" \"|\" \"*\" \";\"]"; got.stdout != want {
		t.Errorf("got %s, want %s", got.stdout, want)
	}
}

func TestSubsystem(t *testing.T) {
	d := openDoor(t, nil)
	cmd := d.ssh("-s", "cat")
	cmd.Stdin = strings.NewReader("through the subsystem")
	if got := run(t, cmd); got.status != 0 || got.stdout != "through the subsystem" {
		t.Errorf("known subsystem: %+v", got)
	}
	if got := run(t, d.ssh("-s", "sftp")); got.status == 0 {
		t.Errorf("unknown subsystem: %+v", got)
	}
}

func TestLargeTransfers(t *testing.T) {
	const size = 256 << 20
	d := openDoor(t, nil)
	h := sha256.New()
	_, _ = io.CopyN(h, zeros{}, size)

	up := d.ssh("sum")
	up.Stdin = io.LimitReader(zeros{}, size)
	want := fmt.Sprintf("%d %x <nil>\n", size, h.Sum(nil))
	if got := run(t, up); got.stdout != want {
		t.Errorf("upload: %+v, want %s", got, want)
	}
	down := d.ssh("zeros", fmt.Sprint(size))
	h.Reset()
	counted := &countingWriter{w: h}
	down.Stdout = counted
	if err := down.Run(); err != nil || counted.n != size || !strings.Contains(want, fmt.Sprintf("%x", h.Sum(nil))) {
		t.Errorf("download: %d bytes, %v", counted.n, err)
	}
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.w.Write(b)
}

func TestManySessionsOnOneConnection(t *testing.T) {
	d := openDoor(t, nil)
	control := filepath.Join(t.TempDir(), "c")
	master := d.ssh("-M", "-S"+control, "wait")
	out, err := master.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "waiting\n" {
		t.Fatalf("master: %q, %v", line, err)
	}
	for i := range 25 { // more than MaxSessions, one after the other
		if got := run(t, d.ssh("-S"+control, "exit", "3")); got.status != 3 {
			t.Fatalf("session %d: %+v", i, got)
		}
	}
	if n := strings.Count(d.log.String(), "key accepted"); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if got := run(t, d.ssh("-S"+control, "-Oexit")); got.status != 0 {
		t.Errorf("-O exit: %+v", got)
	}
	_ = master.Wait()
}

func TestForwardingIsRefused(t *testing.T) {
	d := openDoor(t, nil)
	got := run(t, d.ssh("-oExitOnForwardFailure=yes", "-R0:127.0.0.1:9", "echo"))
	if got.status != 255 || !strings.Contains(got.stderr, "remote port forwarding failed") {
		t.Errorf("remote forwarding: %+v", got)
	}
	cmd := d.ssh("-W127.0.0.1:9")
	if got := run(t, cmd); got.status == 0 || !strings.Contains(got.stderr, "administratively prohibited") {
		t.Errorf("stdio forwarding: %+v", got)
	}
	if got := run(t, d.ssh("-A", "-X", "-oSetEnv=A=b", "echo")); got.status != 0 {
		t.Errorf("agent, X11 and environment are not to stop a command: %+v", got)
	}
}

func TestVersionLine(t *testing.T) {
	d := openDoor(t, nil)
	conn, err := net.Dial("tcp", d.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "SSH-2.0-serene\r\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestOldAlgorithmsAreRefused(t *testing.T) {
	d := openDoor(t, nil)
	for _, option := range []string{
		"Ciphers=chacha20-poly1305@openssh.com", "Ciphers=aes256-ctr", "Ciphers=aes128-cbc",
		"KexAlgorithms=diffie-hellman-group14-sha256", "KexAlgorithms=ecdh-sha2-nistp256",
	} {
		if got := run(t, d.ssh("-o"+option, "echo")); got.status != 255 || !strings.Contains(got.stderr, "no matching") {
			t.Errorf("%s: %+v", option, got)
		}
	}
}

func TestAlgorithmsCanBeWidened(t *testing.T) {
	d := openDoor(t, func(c *Config) { c.Algorithms.Ciphers = []string{"aes256-ctr"} })
	for mac, status := range map[string]int{"hmac-sha2-256-etm@openssh.com": 0, "hmac-sha2-256": 255, "hmac-sha1": 255} {
		if got := run(t, d.ssh("-oCiphers=aes256-ctr", "-oMACs="+mac, "exit", "0")); got.status != status {
			t.Errorf("%s: %+v, want status %d", mac, got, status)
		}
	}
}

func TestRSALoginsNeedSHA2(t *testing.T) {
	d := openDoor(t, nil)
	dir := t.TempDir()
	rsa := keygen(t, dir, "rsa", "-trsa", "-b2048")
	weak := keygen(t, dir, "weak", "-trsa", "-b1024")
	writeFile(t, d.keys, readFile(t, rsa+".pub")+readFile(t, weak+".pub"))
	for _, c := range []struct {
		identity, algorithm string
		status              int
	}{
		{rsa, "rsa-sha2-256", 0}, {rsa, "rsa-sha2-512", 0}, {rsa, "ssh-rsa", 255},
		{weak, "rsa-sha2-512", 255},
	} {
		got := run(t, d.sshAs(c.identity, "-oPubkeyAcceptedAlgorithms="+c.algorithm, "-oRequiredRSASize=1024", "exit", "0"))
		if got.status != c.status {
			t.Errorf("%s with %s: %+v, want status %d", filepath.Base(c.identity), c.algorithm, got, c.status)
		}
	}
}

func keygen(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	sshKeygen(t, append([]string{"-q", "-N", "", "-f", path}, args...)...)
	return path
}

func TestClientKilledWhileSending(t *testing.T) {
	ended := make(chan error, 1)
	reading := make(chan struct{})
	d := openDoor(t, func(c *Config) { c.Exec = readAll(reading, ended) })
	cmd := d.ssh("push")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdin.Write(bytes.Repeat([]byte("x"), 1<<20))
	<-reading
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := <-ended; err != io.ErrUnexpectedEOF {
		t.Errorf("reading ended with %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestStdinEnds(t *testing.T) {
	ended := make(chan error, 1)
	reading := make(chan struct{})
	d := openDoor(t, func(c *Config) { c.Exec = readAll(reading, ended) })
	cmd := d.ssh("push")
	cmd.Stdin = strings.NewReader("all of it")
	if got := run(t, cmd); got.status != 0 {
		t.Errorf("push: %+v", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("reading ended with %v", err)
	}
}

func sshKeygen(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	return string(out)
}

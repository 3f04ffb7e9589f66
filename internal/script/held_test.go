package script_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// held is an upload that has stopped half-way, its client still there.
type held struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	rest           []byte
	stdout, stderr logBuffer
}

// cmdHold sends half of a file, and returns once the server has begun to write
// it down: hold FILE KEY WORD…. Then finish sends the rest, or abandon kills
// the client.
func (w *world) cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || w.held != nil {
		ts.Fatalf("usage: hold FILE KEY WORD…, one at a time")
	}
	content, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	h := &held{cmd: w.ssh.Command(context.Background(), args[1], args[2:]...)}
	h.stdin, err = h.cmd.StdinPipe()
	ts.Check(err)
	h.cmd.Stdout, h.cmd.Stderr = &h.stdout, &h.stderr
	ts.Check(h.cmd.Start())
	w.held = h
	half := len(content) / 2
	h.rest = content[half:]
	_, err = h.stdin.Write(content[:half])
	ts.Check(err)
	await(ts, "the upload to begin", func() bool { return !isEmpty(filepath.Join(w.state(), "staging")) })
}

// cmdHeard waits until the held client has printed a match on stderr:
// heard REGEXP.
func (w *world) cmdHeard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || w.held == nil {
		ts.Fatalf("usage: heard REGEXP, after hold")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	await(ts, "the client to hear "+args[0], func() bool { return re.MatchString(w.held.stderr.String()) })
}

// cmdFinish sends the rest and waits for the client: finish.
func (w *world) cmdFinish(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 0 || w.held == nil {
		ts.Fatalf("usage: finish, after hold")
	}
	h := w.held
	_, sent := h.stdin.Write(h.rest)
	h.stdin.Close()
	err := h.cmd.Wait()
	w.held = nil
	io.WriteString(ts.Stdout(), h.stdout.String())
	io.WriteString(ts.Stderr(), h.stderr.String())
	w.judge(ts, neg, h.cmd, err)
	if !neg {
		ts.Check(sent)
	}
}

// cmdAbandon kills the client, so that it can say nothing to the server: abandon.
func (w *world) cmdAbandon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 || w.held == nil {
		ts.Fatalf("usage: abandon, after hold")
	}
	w.held.kill()
	w.held = nil
}

func (h *held) kill() {
	h.cmd.Process.Kill()
	h.cmd.Wait() // it was killed, so it fails
}

package script_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdBreakoff begins to put a file with sftp, slowly, and kills sftp once the
// server has written some of it down: breakoff FILE KEY.
func (w *world) cmdBreakoff(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: breakoff FILE KEY")
	}
	path := ts.MkAbs(args[0])
	const slow = "4000" // Kbit/s
	cmd := exec.CommandContext(context.Background(), "sftp", "-F", w.ssh.Config(), "-l", slow, "-b", "-", args[1])
	cmd.Stdin = strings.NewReader(fmt.Sprintf("put %s /serene/\n", path))
	ts.Check(cmd.Start())
	partial := filepath.Join(w.state(), "partial", "*", "serene", filepath.Base(path))
	await(ts, "some of the file to come", func() bool {
		found, err := filepath.Glob(partial)
		if err != nil || len(found) == 0 {
			return false
		}
		info, err := os.Stat(found[0])
		return err == nil && info.Size() > 100_000
	})
	cmd.Process.Kill()
	cmd.Wait() // it was killed, so it fails
}

// cmdOverSSH makes the client a system whose pacman fetches over SSH as
// docs/clients.md has it, knowing no HTTP: overssh SETUPKEY KEY, the first of
// which tells it which signatures to trust.
func (w *world) cmdOverSSH(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: overssh SETUPKEY KEY")
	}
	fetch, err := documented("../../docs/clients.md", "#!/bin/sh\n# /usr/local/bin/serene-fetch")
	ts.Check(err)
	fetch = strings.Replace(fetch, "-i /etc/pacman.d/serene_key", "-F "+w.ssh.Config(), 1)
	ts.Check(os.WriteFile(w.path("serene-fetch"), []byte(fetch), 0o755))
	lines, err := w.setupLines(args[0])
	ts.Check(err)
	lines.Certificate = ""
	lines.PacmanConf = fmt.Sprintf("XferCommand = %s %%u %%o\n\n[serene]\nServer = ssh://%s/$repo/$arch\n", w.path("serene-fetch"), args[1])
	w.client, err = w.newClient("client", lines)
	ts.Check(err)
}

// documented returns the block of a document that begins like this.
func documented(file, begin string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(string(text), "\n```sh\n"+begin)
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		return "", fmt.Errorf("%s: no block that begins with %q", file, begin)
	}
	return begin + block + "\n", nil
}

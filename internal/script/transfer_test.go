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

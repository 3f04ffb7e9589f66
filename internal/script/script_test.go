// Package script_test drives serene from the outside, as people and pacman do:
// the real daemons, the real ssh, pacman, makepkg, gpgv, bsdtar and repo-add.
// Each file in testdata is one behaviour, named by it; harness_test.go says what
// the scripts can do. It imports nothing of what it tests.
package script_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin is where the daemons are built to, once for all scripts.
var bin string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	bin, err = os.MkdirTemp("", "serene-bin")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	args := []string{"build", "-o", bin + "/"}
	if raceEnabled { // then a race in a daemon fails the script
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "serene/cmd/serene-receive", "serene/cmd/serene-serve", "serene/cmd/serene-build")...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("build the daemons: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		WorkdirRoot:        t.TempDir(),
		Setup:              setUp,
		RequireUniqueNames: true,
		Cmds:               commands(),
	})
}

// commands are what the scripts can do.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"start":   command((*world).cmdStart),
		"serve":   command((*world).cmdServe),
		"receive": command((*world).cmdReceive),
		"log":     command((*world).cmdLog),

		"key":      command((*world).cmdKey),
		"ssh":      command((*world).cmdSSH),
		"push":     command((*world).cmdPush),
		"hold":     command((*world).cmdHold),
		"heard":    command((*world).cmdHeard),
		"finish":   command((*world).cmdFinish),
		"abandon":  command((*world).cmdAbandon),
		"code":     command((*world).cmdCode),
		"breakoff": command((*world).cmdBreakoff),
		"soak":     command((*world).cmdSoak),
		"overssh":  command((*world).cmdOverSSH),
		"front":    command((*world).cmdFront),
		"twin":     command((*world).cmdTwin),
		"twice":    command((*world).cmdTwice),

		"mkpkg":   command((*world).cmdMkpkg),
		"tree":    command((*world).cmdTree),
		"mtree":   command((*world).cmdMtree),
		"pack":    command((*world).cmdPack),
		"makepkg": command((*world).cmdMakepkg),

		"client": command((*world).cmdClient),
		"pacman": command((*world).cmdPacman),
		"hammer": command((*world).cmdHammer),

		"empty":     command((*world).cmdEmpty),
		"jsonlines": command((*world).cmdJSONLines),
		"damage":    command((*world).cmdDamage),
	}
}

// command makes a method of the script's world a testscript command.
func command(f func(*world, *testscript.TestScript, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		f(ts.Value(worldKey{}).(*world), ts, neg, args)
	}
}

func daemon(name string) string { return filepath.Join(bin, name) }

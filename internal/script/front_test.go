package script_test

import (
	"os"
	"os/user"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdFront puts a real OpenSSH server in front of the state directory, with a
// host KEY.openssh for each key: front [<FILE] KEY…. It is set up as
// sshd_config.d/serene.conf has it, or by FILE, in which variables are expanded.
// $FRONT then is USER@HOST:PORT of it. front kill ends its sessions as a crash
// would.
func (w *world) cmdFront(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: front [<FILE] KEY… | front kill")
	case args[0] == "kill":
		ts.Check(w.front.KillSessions())
		return
	}
	lines, err := sshdConfig(w.state())
	ts.Check(err)
	ts.Check(os.Link(w.path("serene.toml"), filepath.Join(w.state(), "serene.toml")))
	if args[0][0] == '<' {
		lines = os.Expand(ts.ReadFile(args[0][1:]), ts.Getenv)
		args = args[1:]
	}
	ctx, cancel := within()
	defer cancel()
	w.front, err = w.ssh.StartSshdWith(ctx, lines)
	ts.Check(err)
	for _, key := range args {
		ts.Check(w.ssh.AddHost(key+viaOpenSSH, w.front.Addr, "", filepath.Join(w.ssh.Dir, "id_"+key)))
	}
	me, err := user.Current()
	ts.Check(err)
	ts.Setenv("FRONT", me.Username+"@"+w.front.Addr)
}

package script_test

import (
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/dev/unit"
)

// cmdStart starts both daemons: start.
func (w *world) cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: start")
	}
	w.cmdServe(ts, false, []string{"start"})
	w.cmdReceive(ts, false, []string{"start"})
}

// cmdServe does something with serene-serve: serve start|stop|kill|reload|term,
// the last returning as soon as the daemon has begun to stop.
func (w *world) cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	w.control(ts, neg, w.serve, args)
}

// cmdReceive does something with serene-receive: as cmdServe.
// Its host key is pinned when it first is there.
func (w *world) cmdReceive(ts *testscript.TestScript, neg bool, args []string) {
	w.control(ts, neg, w.receive, args)
	if w.hostTrusted || !w.receive.Running() {
		return
	}
	ctx, cancel := within()
	defer cancel()
	ts.Check(w.ssh.Trust(ctx, w.receive.Sockets[0].Addr, filepath.Join(w.state(), "keys/ssh_host_ed25519_key")))
	w.hostTrusted = true
}

// control does one thing with a daemon and waits until it is done. A failure
// that the script expects is told on its stderr.
func (w *world) control(ts *testscript.TestScript, neg bool, u *unit.Unit, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: %s start|stop|kill|reload|term", filepath.Base(u.Path))
	}
	ctx, cancel := within()
	defer cancel()
	var err error
	switch args[0] {
	case "start":
		err = u.Start(ctx)
	case "stop":
		err = w.stop(u)
	case "kill":
		u.Kill()
	case "term":
		err = u.Terminate(ctx)
	case "reload":
		err = u.Reload(ctx)
	default:
		ts.Fatalf("unknown: %s", args[0])
	}
	if neg {
		if err == nil {
			ts.Fatalf("unexpected success")
		}
		ts.Stderr().Write([]byte(w.logs[u].String()))
		return
	}
	ts.Check(err)
}

func (w *world) stop(u *unit.Unit) error {
	ctx, cancel := within()
	defer cancel()
	return u.Stop(ctx)
}

// cmdLog waits until a daemon has logged a match: log serve|receive|builder
// REGEXP. Of builders it is the first.
func (w *world) cmdLog(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] log serve|receive|builder REGEXP")
	}
	daemons := map[string]*unit.Unit{"serve": w.serve, "receive": w.receive}
	if len(w.builders) > 0 {
		daemons["builder"] = w.builders[0]
	}
	u := daemons[args[0]]
	if u == nil {
		ts.Fatalf("no daemon %s", args[0])
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	matches := func() bool { return re.MatchString(w.logs[u].String()) }
	if neg {
		if matches() {
			ts.Fatalf("unexpected in the log of %s: %s", args[0], args[1])
		}
		return
	}
	await(ts, "the log of "+args[0]+" to say "+args[1], matches)
}

package script_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdKey makes a key and authorises it: key NAME [OPTION…]. The options are
// those of authorized_keys. -stranger makes one that is not authorised.
// NAME then is a host for ssh.
func (w *world) cmdKey(ts *testscript.TestScript, neg bool, args []string) {
	stranger := len(args) > 0 && args[0] == "-stranger"
	if stranger {
		args = args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: key [-stranger] NAME [OPTION…]")
	}
	ctx, cancel := within()
	defer cancel()
	name := args[0]
	path, public, err := w.ssh.NewKey(ctx, name)
	ts.Check(err)
	ts.Check(w.ssh.AddHost(name, w.receive.Sockets[0].Addr, "", path))
	if stranger {
		return
	}
	line := strings.TrimSpace(strings.Join(args[1:], ",")+" "+public) + "\n"
	f, err := os.OpenFile(w.authorizedKeys(), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteString(line)
	ts.Check(err)
	ts.Check(f.Close())
}

// cmdSSH runs the real ssh: ssh [<FILE] [>FILE] KEY [WORD…]. Without <FILE
// stdin is empty.
func (w *world) cmdSSH(ts *testscript.TestScript, neg bool, args []string) {
	var in, out string
	for len(args) > 0 && strings.ContainsAny(args[0][:1], "<>") {
		if args[0][0] == '<' {
			in = args[0][1:]
		} else {
			out = args[0][1:]
		}
		args = args[1:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: ssh [<FILE] [>FILE] KEY [WORD…]")
	}
	ctx, cancel := within()
	defer cancel()
	cmd := w.ssh.Command(ctx, args[0], args[1:]...)
	if in != "" {
		f, err := os.Open(ts.MkAbs(in))
		ts.Check(err)
		defer f.Close()
		cmd.Stdin = f
	}
	if out != "" {
		f, err := os.Create(ts.MkAbs(out))
		ts.Check(err)
		defer f.Close()
		cmd.Stdout = f
	}
	w.run(ts, neg, cmd)
}

// cmdPush sends a package: push KEY FILE [FLAG…].
func (w *world) cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: push KEY FILE [FLAG…]")
	}
	words := append([]string{"<" + args[1], args[0], "push", filepath.Base(args[1])}, args[2:]...)
	w.cmdSSH(ts, neg, words)
}

// isEmpty tells whether dir holds nothing; one that is not there holds nothing.
func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return len(entries) == 0 && (err == nil || os.IsNotExist(err))
}

// cmdEmpty waits until directories hold nothing: empty DIR….
func (w *world) cmdEmpty(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		dir = ts.MkAbs(dir)
		if neg {
			if isEmpty(dir) {
				ts.Fatalf("%s is empty", dir)
			}
			continue
		}
		await(ts, dir+" to be empty", func() bool { return isEmpty(dir) })
	}
}

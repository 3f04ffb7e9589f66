package script_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/dev/pacman"
)

// setupLines is what the verb setup says with --json.
type setupLines struct {
	URL         string `json:"url"`
	Key         string `json:"key"`
	Certificate string `json:"certificate"`
	PacmanConf  string `json:"pacman_conf"`
}

// cmdClient makes the scratch system that pacman works on, set up with what the
// server says to KEY: client KEY.
func (w *world) cmdClient(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: client KEY")
	}
	lines, err := w.setupLines(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(w.path("cert.pem"), []byte(lines.Certificate), 0o644))
	w.client, err = w.newClient("client", lines)
	ts.Check(err)
}

func (w *world) setupLines(key string) (lines setupLines, err error) {
	ctx, cancel := within()
	defer cancel()
	out, err := w.ssh.Command(ctx, key, "setup", "--json").Output()
	if err != nil {
		return lines, fmt.Errorf("ssh %s setup: %w", key, err)
	}
	return lines, json.Unmarshal(out, &lines)
}

// newClient does what the lines tell a person to do. Where this machine does
// not let pacman see the certificate, it goes over plain HTTP.
func (w *world) newClient(dir string, lines setupLines) (*pacman.System, error) {
	system, err := pacman.New(w.path(dir))
	if err != nil {
		return nil, err
	}
	if !system.TLS() {
		lines.PacmanConf = strings.ReplaceAll(lines.PacmanConf, lines.URL, "http://"+w.sockets[2].Addr)
	}
	ctx, cancel := within()
	defer cancel()
	for _, err := range []error{
		system.TrustCertificate([]byte(lines.Certificate)),
		system.TrustKey(ctx, []byte(lines.Key)),
		system.Configure(lines.PacmanConf),
	} {
		if err != nil {
			return nil, err
		}
	}
	return system, nil
}

// cmdPacman runs the real pacman on the client: pacman ARG….
func (w *world) cmdPacman(ts *testscript.TestScript, neg bool, args []string) {
	if w.client == nil {
		ts.Fatalf("no client yet")
	}
	ctx, cancel := within()
	defer cancel()
	w.run(ts, neg, w.client.Command(ctx, args...))
}

// cmdJSONLines checks that the last stdout is JSON objects, one a line, each
// with these keys and none of them empty: jsonlines KEY….
func (w *world) cmdJSONLines(ts *testscript.TestScript, neg bool, keys []string) {
	if neg {
		ts.Fatalf("usage: jsonlines KEY…")
	}
	lines := bytes.Split(bytes.TrimSuffix([]byte(ts.ReadFile("stdout")), []byte("\n")), []byte("\n"))
	for _, line := range lines {
		var object map[string]any
		if err := json.Unmarshal(line, &object); err != nil {
			ts.Fatalf("not a JSON object: %q: %v", line, err)
		}
		for _, key := range keys {
			if empty := []any{nil, "", 0.0}; slices.Contains(empty, object[key]) {
				ts.Fatalf("no %s in %s", key, line)
			}
		}
	}
}

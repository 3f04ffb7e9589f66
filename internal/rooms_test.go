// Package internal_test holds the one test that belongs to no room: the rooms
// import each other strictly downward.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "serene/"

// floors says on which floor each room stands. A room may import only what
// stands on a lower floor: so the slices (build, receive, serve) never meet,
// and what reads foreign bytes (alpm) or speaks SSH (sshd) knows nothing of
// who uses it. A package under a room's directory is part of that room.
var floors = map[string]int{
	"internal/alpm":    0,
	"internal/config":  0,
	"internal/durable": 0,
	"sshd":             0,

	"internal/daemon":   1,
	"internal/job":      1,
	"internal/repo":     1,
	"internal/source":   1,
	"internal/upstream": 1,

	"internal/build":   2,
	"internal/receive": 2,
	"internal/serve":   2,

	"cmd": 3,

	// What tries the program out from the outside. Nothing imports it, as
	// nothing stands higher.
	"internal/bench":  4,
	"internal/script": 4,
	"internal/dev":    3, // shared by the two above
}

// kept says what a room must not import although it is no room of ours: alpm
// reads streams and touches nothing, and only the builder may reach Docker.
var kept = []struct{ path, outOf string }{
	{"os", "internal/alpm"},
	{"os/exec", "internal/alpm"},
	{"net", "internal/alpm"},
	{"net/http", "internal/alpm"},
	{"os/exec", "internal/repo"},
	{"os/exec", "internal/serve"},
	{"os/exec", "internal/receive"},
	{"os/exec", "sshd"},
}

type pkg struct {
	ImportPath string
	GoFiles    []string
	Imports    []string // of GoFiles, so not of tests
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		from, floor := room(t, p.ImportPath)
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module) {
				if to, f := room(t, path); to != from && f >= floor {
					t.Errorf("%s imports %s: %s (floor %d) must not import %s (floor %d)", p.ImportPath, path, from, floor, to, f)
				}
			}
			for _, k := range kept {
				if k.path == path && k.outOf == from && !strings.HasSuffix(p.ImportPath, "test") {
					t.Errorf("%s imports %s, which %s must do without", p.ImportPath, path, from)
				}
			}
		}
	}
}

// room returns the room that a package of this module belongs to, and its floor.
func room(t *testing.T, importPath string) (name string, floor int) {
	t.Helper()
	path := strings.TrimPrefix(importPath, module)
	for name, floor := range floors {
		if path == name || strings.HasPrefix(path, name+"/") {
			return name, floor
		}
	}
	t.Fatalf("%s belongs to no room: give it a floor in this test and a line in docs/architecture.md", importPath)
	return "", 0
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,GoFiles,Imports", module+"...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 { // a directory of tests alone is no room
			all = append(all, p)
		}
	}
}

package alpm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"serene/internal/alpm"
)

// A dependency, and a package that may satisfy it. What must come out is what
// pacman -T says when only that package is installed.
var dependencies = []struct {
	dep, name, version string
	provides           []string
}{
	{"foo", "foo", "1-1", nil},
	{"foo", "bar", "1-1", nil},
	{"foo=1", "foo", "1-1", nil},
	{"foo=1", "foo", "1-2", nil},
	{"foo=1-1", "foo", "1-2", nil},
	{"foo=1", "foo", "1:1-1", nil},
	{"foo=1:1", "foo", "1:1-9", nil},
	{"foo>=2", "foo", "1-1", nil},
	{"foo>=2", "foo", "1:1-1", nil},
	{"foo>=1", "foo", "1-1", nil},
	{"foo>1", "foo", "1-1", nil},
	{"foo>1-1", "foo", "1-2", nil},
	{"foo<2", "foo", "2beta-1", nil},
	{"foo<=2", "foo", "2-5", nil},
	{"foo<2", "foo", "2-1", nil},
	{"foo", "bar", "1-1", []string{"foo"}},
	{"foo", "bar", "1-1", []string{"baz", "foo=3"}},
	{"foo=3", "bar", "1-1", []string{"foo=3"}},
	{"foo>=3", "bar", "9-1", []string{"foo"}},
	{"foo>=3", "bar", "9-1", []string{"foo=2"}},
	{"foo>=3", "foo", "2-1", []string{"foo=3"}},
	{"foo<3", "bar", "1-1", []string{"foo=3-1"}},
	{"libfoo.so", "foo", "1-1", []string{"libfoo.so=1-64"}},
	{"libfoo.so=1-64", "foo", "1-1", []string{"libfoo.so=1-64"}},
	{"libfoo.so=1-64", "foo", "1-1", []string{"libfoo.so=1-32"}},
	{"libfoo.so=2-64", "foo", "1-1", []string{"libfoo.so=1-64"}},
	{"lib:libfoo.so.1", "foo", "1-1", []string{"lib:libfoo.so.1"}},
}

func TestSatisfiedByAgreesWithPacman(t *testing.T) {
	for _, c := range dependencies {
		dep, err := alpm.ParseDep(c.dep)
		if err != nil {
			t.Fatal(err)
		}
		if dep.String() != c.dep {
			t.Errorf("%s became %s", c.dep, dep)
		}
		got := dep.SatisfiedBy(c.name, alpm.Version(c.version), c.provides)
		if want := pacmanSatisfied(t, c.dep, c.name, c.version, c.provides); got != want {
			t.Errorf("%s by %s %s %v: %v, pacman says %v", c.dep, c.name, c.version, c.provides, got, want)
		}
	}
}

// pacmanSatisfied asks pacman on a system with only that one package.
func pacmanSatisfied(t *testing.T, dep, name, version string, provides []string) bool {
	t.Helper()
	db := t.TempDir()
	dir := filepath.Join(db, "local", name+"-"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	desc := fmt.Sprintf("%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%ARCH%%\nany\n\n", name, version)
	if provides != nil {
		desc += "%PROVIDES%\n" + strings.Join(provides, "\n") + "\n\n"
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "desc"):                    desc,
		filepath.Join(dir, "files"):                   "%FILES%\n",
		filepath.Join(db, "local", "ALPM_DB_VERSION"): "9\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "pacman", "--config", "/dev/null", "--dbpath", db, "-T", dep).CombinedOutput()
	switch s := strings.TrimSpace(string(out)); {
	case err == nil && s == "":
		return true
	case err != nil && s == dep:
		return false
	default:
		t.Fatalf("pacman -T %s: %v: %s", dep, err, out)
		return false
	}
}

func TestParseDepRefuses(t *testing.T) {
	for _, s := range []string{"", "=1", ">=2", "foo>", "foo>=", "foo bar", "-foo", "../x", "foo>=1>=2", "foo=<1", "foo\n", "foo=1\x00", "foo: why"} {
		if d, err := alpm.ParseDep(s); err == nil {
			t.Errorf("%q became %+v", s, d)
		}
	}
}

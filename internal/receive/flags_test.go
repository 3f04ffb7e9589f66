package receive

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseFlags(t *testing.T) {
	const spec = "json repo= allow=+"
	for _, tt := range []struct {
		words    string
		flags    flags
		operands []string
	}{
		{"", flags{}, nil},
		{"a b", flags{}, []string{"a", "b"}},
		{"--json a", flags{"json": {""}}, []string{"a"}},
		{"a --json", flags{"json": {""}}, []string{"a"}},
		{"--repo r a", flags{"repo": {"r"}}, []string{"a"}},
		{"--repo=r a", flags{"repo": {"r"}}, []string{"a"}},
		{"--repo=a=b", flags{"repo": {"a=b"}}, nil},
		{"--repo --json a", flags{"repo": {"--json"}}, []string{"a"}},
		{"--allow a --allow=b", flags{"allow": {"a", "b"}}, nil},
		{"-", flags{}, []string{"-"}},
		{"-- --json -x", flags{}, []string{"--json", "-x"}},
		{"a -- -- b", flags{}, []string{"a", "--", "b"}},
	} {
		got, operands, err := parseFlags(spec, strings.Fields(tt.words))
		if err != nil {
			t.Errorf("parseFlags(%q): %v", tt.words, err)
			continue
		}
		if !reflect.DeepEqual(got, tt.flags) || !reflect.DeepEqual(operands, tt.operands) {
			t.Errorf("parseFlags(%q) = %v, %q; want %v, %q", tt.words, got, operands, tt.flags, tt.operands)
		}
	}
}

func TestParseFlagsRefuses(t *testing.T) {
	const spec = "json repo= allow=+"
	for words, want := range map[string]string{
		"--jsn":             "unknown flag --jsn: did you mean --json?",
		"-j":                "unknown flag -j: it takes --json --repo --allow",
		"-json":             "unknown flag -json: did you mean --json?",
		"--verbose=yes":     "unknown flag --verbose: it takes --json --repo --allow",
		"--json=yes":        "--json takes no value",
		"--json --json":     "--json is given twice",
		"--repo":            "--repo needs a value",
		"--repo=":           "--repo needs a value",
		"--repo a --repo b": "--repo is given twice",
		"---json":           "unknown flag ---json: did you mean --json?",
	} {
		_, _, err := parseFlags(spec, strings.Fields(words))
		if err == nil || err.Error() != want {
			t.Errorf("parseFlags(%q): %v; want %s", words, err, want)
		}
		if exitCode(err) != exitUsage {
			t.Errorf("parseFlags(%q): exit code %d", words, exitCode(err))
		}
	}
	if _, _, err := parseFlags(spec, []string{"--repo", ""}); err == nil {
		t.Error("an empty value was taken")
	}
	if _, _, err := parseFlags("", []string{"--"}); err != nil {
		t.Errorf("-- alone: %v", err)
	}
}

func TestNearest(t *testing.T) {
	verbs := []string{"push", "pull", "list", "info", "remove"}
	for word, want := range map[string]string{
		"psuh":                   "push",
		"pus":                    "push",
		"lst":                    "list",
		"ls":                     "",
		"rm":                     "",
		"remvoe":                 "remove",
		"delete":                 "",
		"":                       "",
		strings.Repeat("a", 1e6): "",
	} {
		if got := nearest(word, verbs); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

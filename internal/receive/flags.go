package receive

import (
	"slices"
	"strings"

	"serene/internal/repo"
)

// flags holds the flags of one command line, by name without dashes. A switch
// that is on holds one empty value.
type flags map[string][]string

func (f flags) on(name string) bool { return len(f[name]) > 0 }

// value returns what a flag was given, "" when it was not: no flag takes an
// empty value.
func (f flags) value(name string) string {
	if !f.on(name) {
		return ""
	}
	return f[name][0]
}

// flagKind says how a flag is written.
type flagKind int

const (
	unknownFlag  flagKind = iota
	switchFlag            // --name
	valueFlag             // --name VALUE, once
	repeatedFlag          // --name VALUE, any number of times
)

// kindOf looks a flag up in spec: names separated by spaces, where "name" is a
// switch, "name=" takes a value and "name=+" may be given more than once.
func kindOf(spec, name string) flagKind {
	words := strings.Fields(spec)
	switch {
	case slices.Contains(words, name):
		return switchFlag
	case slices.Contains(words, name+"="):
		return valueFlag
	case slices.Contains(words, name+"=+"):
		return repeatedFlag
	}
	return unknownFlag
}

// parseFlags separates flags from operands. Flags stand before, between or
// after operands, as --name, --name=VALUE or --name VALUE; "--" ends them, and
// "-" alone is an operand. The one short flag is -f, for --follow. Every error
// is repo.ErrUsage.
func parseFlags(spec string, words []string) (flags, []string, error) {
	found := make(flags)
	var operands []string
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "-f" && kindOf(spec, "follow") == switchFlag {
			word = "--follow"
		}
		if word == "--" {
			operands = append(operands, words...)
			break
		}
		if word == "-" || !strings.HasPrefix(word, "-") {
			operands = append(operands, word)
			continue
		}
		taken, err := found.add(spec, word, words)
		if err != nil {
			return nil, nil, err
		}
		words = words[taken:]
	}
	return found, operands, nil
}

// add records the flag that word begins and returns how many of the words
// after it are its value: none or one.
func (f flags) add(spec, word string, rest []string) (taken int, err error) {
	name, value, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	kind := kindOf(spec, name)
	switch {
	case kind == unknownFlag || !strings.HasPrefix(word, "--"):
		return 0, unknownFlagError(spec, word)
	case kind != repeatedFlag && f.on(name):
		return 0, refuse(repo.ErrUsage, "--%s is given twice", name)
	case kind == switchFlag && joined:
		return 0, refuse(repo.ErrUsage, "--%s takes no value", name)
	case kind == switchFlag:
		f[name] = []string{""}
		return 0, nil
	case !joined && len(rest) > 0:
		value, taken = rest[0], 1
	}
	if value == "" {
		return 0, refuse(repo.ErrUsage, "--%s needs a value", name)
	}
	f[name] = append(f[name], value)
	return taken, nil
}

func unknownFlagError(spec, word string) error {
	var known []string
	for name := range strings.FieldsSeq(spec) {
		known = append(known, "--"+strings.TrimRight(name, "=+"))
	}
	word, _, _ = strings.Cut(word, "=")
	if near := nearest(word, known); near != "" {
		return refuse(repo.ErrUsage, "unknown flag %s: did you mean %s?", word, near)
	}
	if len(known) == 0 {
		return refuse(repo.ErrUsage, "unknown flag %s: it takes none", word)
	}
	return refuse(repo.ErrUsage, "unknown flag %s: it takes %s", word, strings.Join(known, " "))
}

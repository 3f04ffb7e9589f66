package receive

import (
	"context"
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"serene/internal/repo"
)

//go:embed completion.bash
var completionBash string

//go:embed completion.zsh
var completionZsh string

// completionScripts are the shells that are known.
var completionScripts = map[string]*template.Template{
	"bash": completionTemplate("bash", completionBash),
	"zsh":  completionTemplate("zsh", completionZsh),
}

func completionTemplate(name, text string) *template.Template {
	return template.Must(template.New(name).Funcs(template.FuncMap{"quote": shellQuote}).Parse(text))
}

// completionVerbs say how commands are completed.
func completionVerbs() []verb {
	return []verb{
		{"completion", "bash|zsh [COMMAND]",
			"print a script that completes verbs and package names of COMMAND, which runs ssh HOST; repo if not given",
			"", []string{groupRead}, false, completion},
	}
}

// commandName is what may be the name of a command in such a script.
var commandName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`)

// completion prints the script for a shell. It knows the verbs that the caller
// may use, and asks for package names when it runs.
func completion(_ context.Context, c *call) error {
	if len(c.args) == 0 || len(c.args) > 2 {
		return c.misused("no shell given")
	}
	script := completionScripts[c.args[0]]
	if script == nil {
		return c.misused("no script for that shell")
	}
	command := "repo"
	if len(c.args) == 2 {
		command = c.args[1]
	}
	if !commandName.MatchString(command) {
		return refuse(repo.ErrUsage, "%q: the name of a command is letters, digits, _ and -", command)
	}
	return script.Execute(c.out, c.completes(command))
}

// completed is what is known of one verb.
type completed struct {
	Name, Help string
	Flags      string // separated by spaces
	Names      string // what its operands are: package, verb, file or no
}

// completes collects what a script needs.
func (c *call) completes(command string) any {
	var names []string
	var table []completed
	for _, v := range verbs() {
		if !c.by.Rights.allowVerb(&v) {
			continue
		}
		names = append(names, v.name)
		var flags []string
		for flag := range strings.FieldsSeq(v.flags) {
			flags = append(flags, "--"+strings.TrimRight(flag, "=+"))
		}
		table = append(table, completed{v.name, v.help, strings.Join(flags, " "), v.operands()})
	}
	return struct {
		Command, Func, Verbs string
		Table                []completed
	}{command, "serene_" + strings.ReplaceAll(command, "-", "_"), strings.Join(names, " "), table}
}

// operands tells from the synopsis what the verb is about.
func (v *verb) operands() string {
	words := strings.FieldsFunc(v.synopsis, func(r rune) bool { return !(r >= 'A' && r <= 'Z') })
	for _, kind := range []struct{ word, names string }{
		{"NAME", "package"}, {"PKGBASE", "package"}, {"VERB", "verb"}, {"FILE", "file"},
	} {
		if slices.Contains(words, kind.word) && v.name != "keys" {
			return kind.names
		}
	}
	return "no"
}

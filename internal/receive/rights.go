package receive

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"serene/internal/config"
	"serene/internal/repo"
	"serene/sshd"
)

// The groups of verbs that --allow knows beside the verbs themselves.
const (
	groupRead  = "read"  // every verb that changes nothing
	groupPush  = "push"  // sending packages
	groupBuild = "build" // asking for builds
	groupWork  = "work"  // what a builder needs
	groupAll   = "all"
)

// Set is one axis of a key's rights. The zero Set holds nothing.
type Set struct {
	all   bool
	words []string
}

// Everything is the Set of an axis without a limit.
var Everything = Set{all: true}

func (s Set) has(word string) bool { return s.all || slices.Contains(s.words, word) }

// matches is has for a Set of globs. They were checked when they were parsed,
// so a bad one cannot occur; it would match nothing.
func (s Set) matches(name string) bool {
	return s.all || slices.ContainsFunc(s.words, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// Rights say what a key may do. The zero Rights allow nothing.
type Rights struct {
	Verbs    Set // verbs, and groups of verbs
	Repos    Set
	Packages Set   // globs that both the package's base and its name match
	Arches   Set   // architectures of databases
	MaxSize  int64 // bytes of one package file; 0 is no limit
	Rate     Rate  // commands; zero is no limit
}

// AllRights are those of a key without a forced command.
func AllRights() Rights {
	return Rights{Verbs: Everything, Repos: Everything, Packages: Everything, Arches: Everything}
}

// access is a question to Rights: may this be done? What is left empty is not
// asked about.
type access struct {
	verb       *verb
	repo, arch string
	base, name string // of a package
}

// allow decides who may do what; nothing else does. A debug repository and
// the debug packages in it belong to the ones they are of.
func (r Rights) allow(a access) bool {
	if family, debug := strings.CutSuffix(a.repo, repo.DebugSuffix); debug && !r.Repos.has(a.repo) {
		a.repo = family
	}
	return r.allowVerb(a.verb) &&
		(a.repo == "" || r.Repos.has(a.repo)) &&
		(a.arch == "" || r.Arches.has(a.arch)) &&
		(a.base == "" || r.Packages.matches(a.base)) &&
		(a.name == "" || r.Packages.matches(a.name))
}

func (r Rights) allowVerb(v *verb) bool {
	return v.free || r.Verbs.has(v.name) || slices.ContainsFunc(v.groups, r.Verbs.has)
}

// rightsFlags are the flags of a forced command.
const rightsFlags = "allow=+ repo=+ package=+ arch=+ max-size= rate="

// ParseRights reads the rights from a forced command, which is a line
//
//	serene-receive --allow push,pull --repo testing --package 'linux-*' --arch x86_64 --max-size 500MiB --rate 60/h
//
// in a POSIX shell's words. Lists are separated by commas, or the flag is
// repeated. A flag that is missing sets no limit. Anything else is an error:
// a key must not have more rights than its line was meant to give.
func ParseRights(command string) (Rights, error) {
	words, err := sshd.SplitWords(command)
	if err != nil {
		return Rights{}, err
	}
	if len(words) == 0 || path.Base(words[0]) != "serene-receive" {
		return Rights{}, fmt.Errorf("the forced command is not serene-receive")
	}
	return ParseRightsFlags(words[1:])
}

// ParseRightsFlags is ParseRights for the words after serene-receive, as a
// shell has split them.
func ParseRightsFlags(words []string) (Rights, error) {
	given, operands, err := parseFlags(rightsFlags, words)
	if err != nil {
		return Rights{}, err
	}
	if len(operands) > 0 {
		return Rights{}, fmt.Errorf("unexpected word %q", operands[0])
	}
	return given.rights()
}

// rights are what the flags of a forced command give.
func (given flags) rights() (Rights, error) {
	r := AllRights()
	err := errors.Join(
		given.set("allow", &r.Verbs, checkAllow),
		given.set("repo", &r.Repos, checkRepo),
		given.set("package", &r.Packages, checkGlob),
		given.set("arch", &r.Arches, checkArch),
		given.size("max-size", &r.MaxSize),
		given.rate("rate", &r.Rate),
	)
	if err != nil {
		return Rights{}, err
	}
	r.Verbs.all = r.Verbs.has(groupAll)
	return r, nil
}

// HasRightsFlag reports whether any of words is a flag of ParseRightsFlags:
// whether a program was started as a forced command.
func HasRightsFlag(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		return strings.HasPrefix(word, "--") && kindOf(rightsFlags, name) != unknownFlag
	})
}

// set makes s the list a flag gives, where it is given.
func (f flags) set(name string, s *Set, check func(string) error) error {
	if !f.on(name) {
		return nil
	}
	*s = Set{words: strings.Split(strings.Join(f[name], ","), ",")}
	for _, word := range s.words {
		if word == "" {
			return fmt.Errorf("--%s has an empty item", name)
		}
		if err := check(word); err != nil {
			return fmt.Errorf("--%s %q: %w", name, word, err)
		}
	}
	return nil
}

func (f flags) size(name string, n *int64) error {
	if !f.on(name) {
		return nil
	}
	size, err := config.ParseSize(f.value(name))
	if err != nil {
		return fmt.Errorf("--%s %w", name, err)
	}
	if size == 0 {
		return fmt.Errorf("--%s must be above zero", name)
	}
	*n = int64(size)
	return nil
}

func (f flags) rate(name string, r *Rate) (err error) {
	if f.on(name) {
		*r, err = ParseRate(f.value(name))
	}
	return err
}

func checkAllow(word string) error {
	known := []string{groupRead, groupPush, groupBuild, groupWork, groupAll}
	for _, v := range verbs() {
		known = append(known, v.name)
	}
	if !slices.Contains(known, word) {
		return fmt.Errorf("no such verb or group of verbs")
	}
	return nil
}

func checkRepo(word string) error {
	var name config.RepoName
	return name.UnmarshalText([]byte(word))
}

func checkArch(word string) error {
	var arch config.Arch
	return arch.UnmarshalText([]byte(word))
}

func checkGlob(word string) error {
	_, err := path.Match(word, "")
	return err
}

package build

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// The words of Recipe.Network, as the configuration has them.
const (
	NetworkFetch = "fetch" // for dependencies and sources, off while building
	NetworkOpen  = "open"  // on throughout
	NetworkNone  = "none"  // never on
)

// Recipe is everything one run of the sandbox is told.
type Recipe struct {
	Job  string // names the container: letters, digits, "_", "." and "-"
	Base string // pkgbase
	Arch string // CARCH, as pacman names it

	// Tree is the PKGBUILD directory: regular files and symbolic links. It is
	// copied, never mounted.
	Tree string

	// What the .SRCINFO of Tree says for Arch. Sources and ValidPGPKeys only
	// decide what the run prepares for; makepkg reads the PKGBUILD itself.
	Packages     []string // pkgnames; no other package is accepted, none may lack
	Depends      []string // depends, makedepends and checkdepends
	Sources      []string
	ValidPGPKeys []string

	// LocalRepo is a directory with a pacman repository, RepoName.db and its
	// signature and packages with theirs, that dependencies may come from; ""
	// for none. RepoKey is the armored key that signed all of it.
	LocalRepo string
	RepoName  string
	RepoKey   []byte

	Network string // one of the words above
	Limits  Limits

	Packager        string // PACKAGER
	SourceDateEpoch int64  // SOURCE_DATE_EPOCH, 0 for the time of the build

	// SourceCache keeps downloads for the next run: a volume's name, or an
	// absolute directory. CompilerCache is the same for ccache. Only runs of
	// one pkgbase may share them, as each can write what it likes there.
	SourceCache   string
	CompilerCache string

	// Keyserver has the ValidPGPKeys that Tree does not bring.
	// "" means DefaultKeyserver.
	Keyserver string

	// Out is an empty directory that takes the packages.
	Out string
}

// DefaultKeyserver does not strip the user ids off the keys it hands out, which
// gpg would not import then.
const DefaultKeyserver = "hkps://keyserver.ubuntu.com"

// Result is what a run that went well has made.
type Result struct {
	Packages []*alpm.Package // their files are in Recipe.Out; byte-sorted by name
	Image    string          // digest of the image it was made in
}

var (
	jobID    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._+-]*$`)
	pgpKey   = regexp.MustCompile(`^[0-9A-Fa-f]{16,64}$`)
)

// check refuses what would reach a command line or a file name with a meaning
// it must not have there. Most of a recipe is text of strangers.
func (r *Recipe) check() error {
	if !jobID.MatchString(r.Job) {
		return fmt.Errorf("recipe: job id %q", r.Job)
	}
	for _, name := range append([]string{r.Base}, r.Packages...) {
		if err := alpm.ValidName(name); err != nil {
			return fmt.Errorf("recipe: %w", err)
		}
	}
	if r.LocalRepo != "" && !repoName.MatchString(r.RepoName) {
		return fmt.Errorf("recipe: repository name %q", r.RepoName)
	}
	if !slices.Contains([]string{NetworkFetch, NetworkOpen, NetworkNone}, r.Network) {
		return fmt.Errorf("recipe: network %q", r.Network)
	}
	return nil
}

// faults finds what in the package's own text cannot be used.
func (r *Recipe) faults() error {
	for _, dep := range r.Depends {
		if _, err := alpm.ParseDep(dep); err != nil {
			return &Failure{CauseDependency, err.Error()}
		}
	}
	for _, key := range r.ValidPGPKeys {
		if !pgpKey.MatchString(key) {
			return &Failure{CausePGP, fmt.Sprintf("validpgpkeys has %q, which is no fingerprint", key)}
		}
	}
	return nil
}

// fetches says whether the container needs a network for something it is to get.
func (r *Recipe) fetches() bool {
	return len(r.Depends) > 0 || r.hasSources()
}

// hasSources says whether the phase sources has anything to do that the build
// would not do as well.
func (r *Recipe) hasSources() bool {
	return len(r.ValidPGPKeys) > 0 || slices.ContainsFunc(r.Sources, remote)
}

// remote tells what has to be downloaded as makepkg tells it.
func remote(source string) bool {
	return strings.Contains(source, "://") || strings.Contains(source, "lp:")
}

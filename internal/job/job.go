// Package job owns what a build job is: its id, its states, the files that
// remember it, and the words that the hub, the builders and the verbs say to
// each other about it over NATS.
//
// The life of a job:
//
//	queued → running(phase) → done | failed(cause) | cancelled
//	   ↑         ↓
//	   └──── waiting for jobs of its group, for disk or for memory
//
// One process, the hub (package job/hub, inside serene-receive), decides every
// step and writes it to builds/<id>/build.json before it answers. A work queue
// on JetStream hands jobs to builders; the hub grants each delivery as an
// attempt with a number, and takes reports, output and packages of the last
// attempt only. So a job is taken up again when its builder is lost, and never
// counts twice.
//
// The package never builds anything, and decides nothing: that is the hub's.
package job

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State says where a job is in its life.
type State string

// The states of a job. The last three are final.
const (
	Queued    State = "queued"
	Waiting   State = "waiting" // for other jobs, or in the queue for a builder with room; Reason says for what
	Held      State = "held"    // until a person has looked at it
	Running   State = "running" // Phase says with what
	Done      State = "done"
	Failed    State = "failed" // Cause says why
	Cancelled State = "cancelled"
)

// Final reports whether a job in state s is over.
func (s State) Final() bool { return s == Done || s == Failed || s == Cancelled }

// The causes of a failure that the hub itself gives or acts on. A builder has
// more of them; they are words for people and scripts here.
const (
	CauseDependency = "dependency" // a job that this one needs has failed
	CausePackage    = "package"    // what was made is not accepted
	CauseHost       = "host"       // the machine, not the package
)

// The kinds of sources.
const (
	SourceAUR = "aur" // the pkgbase's own repository at the AUR
	SourceGit = "git"
	SourceTar = "tar" // kept with the job
)

// Source is where a PKGBUILD comes from. Two jobs with equal sources build the
// same thing.
type Source struct {
	Kind   string `json:"kind"`
	URL    string `json:"url,omitempty"`    // git
	Branch string `json:"branch,omitempty"` // git; "" is the default one
	Path   string `json:"path,omitempty"`   // git: the PKGBUILD's directory in the repository
	SHA256 string `json:"sha256,omitempty"` // tar: of the tar

	// Modified is when the AUR says the package was last changed, in Unix
	// seconds, so that a newer one is another source.
	Modified int64 `json:"modified,omitempty"`
}

// Options are what the one who asks may choose.
type Options struct {
	Clean   bool   `json:"clean,omitempty"`   // without what earlier builds have downloaded
	Network string `json:"network,omitempty"` // as in the configuration; "" is the builder's
	NoDeps  bool   `json:"no_deps,omitempty"` // missing dependencies are not built
}

// Asker is who wants a job done.
type Asker struct {
	Key     string          `json:"key"` // fingerprint
	Comment string          `json:"comment,omitempty"`
	Rights  json.RawMessage `json:"rights,omitempty"` // what the key might do when it asked
}

// Name is how a person knows the asker.
func (a Asker) Name() string {
	if a.Comment != "" {
		return a.Comment
	}
	return a.Key
}

// Need is another job that a job waits for, or has waited for.
type Need struct {
	Base string `json:"pkgbase"`
	For  string `json:"for,omitempty"` // the dependency that Base is to satisfy
	Job  ID     `json:"job,omitempty"`
}

// Package is one that a job may publish.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
}

// Facts are what a builder has found out about a job. Empty fields say
// nothing.
type Facts struct {
	Base           string    `json:"pkgbase,omitempty"`
	Version        string    `json:"version,omitempty"`
	URL            string    `json:"url,omitempty"`    // of the source
	Commit         string    `json:"commit,omitempty"` // of the source
	Image          string    `json:"image,omitempty"`  // digest of the image it is built in
	PkgbuildSHA256 string    `json:"pkgbuild_sha256,omitempty"`
	Packages       []Package `json:"packages,omitempty"`
}

// Record is all that is known of a job: the content of its build.json.
type Record struct {
	ID     ID     `json:"id"`
	Group  ID     `json:"group"` // first job of the request; what it needs joins it
	Base   string `json:"pkgbase"`
	State  State  `json:"state"`
	Phase  string `json:"phase,omitempty"`
	Cause  string `json:"cause,omitempty"`
	Reason string `json:"reason,omitempty"` // one line on the state

	Repo      string   `json:"repo"`
	Arch      string   `json:"arch"` // of the machine that builds
	Source    Source   `json:"source"`
	Options   Options  `json:"options,omitzero"`
	By        Asker    `json:"by"`
	NeededBy  ID       `json:"needed_by,omitempty"` // the job it was made for; "" when a key asked
	Needs     []Need   `json:"needs,omitempty"`
	After     ID       `json:"after,omitempty"` // another job for the same pkgbase, which goes first
	Facts     Facts    `json:"facts,omitzero"`
	Published []string `json:"published,omitempty"` // receipts

	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"` // of the last attempt
	Ended   time.Time `json:"ended,omitzero"`

	Attempt    int64  `json:"attempt,omitempty"`    // counts how often it was taken up
	Tries      int    `json:"tries,omitempty"`      // attempts that came to nothing for no fault of the package
	Builder    string `json:"builder,omitempty"`    // name of the last one
	BuilderID  string `json:"builder_id,omitempty"` // its id
	BuilderKey string `json:"builder_key,omitempty"`
	Kept       bool   `json:"kept,omitempty"`       // the builder still has packages that could not be published
	Publishing bool   `json:"publishing,omitempty"` // packages are being published: too late to cancel
	Seq        uint64 `json:"seq,omitempty"`        // of its message in the queue, 0 for none
	LogBase    int64  `json:"log_base,omitempty"`   // where the last attempt's output begins in the log
}

// Label is how a person knows what the job builds.
func (r *Record) Label() string {
	switch {
	case r.Base != "":
		return r.Base
	case r.Source.Kind == SourceGit:
		return strings.TrimRight(r.Source.URL+" "+r.Source.Path, " ")
	}
	return "a tar"
}

// Same reports whether s asks for what r is doing.
func (r *Record) Same(s *Spec) bool {
	return r.Repo == s.Repo && r.Arch == s.Arch && r.Source == s.Source && r.Options == s.Options &&
		(r.Base == s.Base || s.Base == "")
}

// Open lists the needs that are not known to be done: done says which are.
func (r *Record) Open(done func(ID) bool) []Need {
	return slices.DeleteFunc(slices.Clone(r.Needs), func(n Need) bool { return done(n.Job) })
}

// Verdict is the line that ends a log, without a newline.
func (r *Record) Verdict() string {
	line := "==> [verdict] " + string(r.State)
	if r.State == Failed {
		line += ": " + r.Cause
	}
	if r.Reason != "" {
		line += ": " + r.Reason
	}
	return line
}

// Allows says why the package name-version for arch, of base, must not come
// from the job, or nil.
func (r *Record) Allows(base, name, version, arch string) error {
	if base != r.Base {
		return fmt.Errorf("its base is %s, and the job builds %s", base, r.Base)
	}
	if !slices.Contains(r.Facts.Packages, Package{name, version, arch}) {
		return fmt.Errorf("the job does not make %s %s for %s", name, version, arch)
	}
	return nil
}

// Provenance says where a published package comes from.
type Provenance struct {
	Job            ID        `json:"job"`
	Base           string    `json:"pkgbase"`
	Source         Source    `json:"source"`
	URL            string    `json:"url,omitempty"`
	Commit         string    `json:"commit,omitempty"`
	PkgbuildSHA256 string    `json:"pkgbuild_sha256,omitempty"`
	Image          string    `json:"image,omitempty"`
	LogSHA256      string    `json:"log_sha256,omitempty"` // of the log up to the publishing
	LogSize        int64     `json:"log_size,omitempty"`   // bytes that it is of
	Builder        string    `json:"builder"`
	BuilderKey     string    `json:"builder_key"`
	Key            string    `json:"key"` // that asked for the job
	Comment        string    `json:"comment,omitempty"`
	Attempt        int64     `json:"attempt"`
	Started        time.Time `json:"started"`
}

// Provenance is what is known of the packages that r publishes.
func (r *Record) Provenance(logSHA256 string, logSize int64) Provenance {
	f := r.Facts
	return Provenance{
		Job: r.ID, Base: r.Base, Source: r.Source, URL: f.URL, Commit: f.Commit,
		PkgbuildSHA256: f.PkgbuildSHA256, Image: f.Image, LogSHA256: logSHA256, LogSize: logSize,
		Builder: r.Builder, BuilderKey: r.BuilderKey, Key: r.By.Key, Comment: r.By.Comment,
		Attempt: r.Attempt, Started: r.Started,
	}
}

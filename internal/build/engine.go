// Package build owns the sandbox: it turns a PKGBUILD directory into package
// files inside a container that is made for that one job and thrown away after
// it, and says in one word why when there are none.
//
// What a PKGBUILD may do is decided here and nowhere else: its limits, its
// network, its capabilities, and which of the files it leaves are taken. The
// package never runs or sources anything of a PKGBUILD on the host, never gives
// a container a secret or the engine's socket, and publishes nothing.
package build

import (
	"context"
	"io"
	"time"
)

// Engine runs containers. An error of any method means that the engine could
// not do it: that is the machine's trouble, never a fault of the package being
// built. Methods may be called at the same time.
type Engine interface {
	// Create makes and starts the container that s describes, whose main
	// process only waits. One of the same name that an earlier run has left
	// behind is removed first. After an error nothing is left.
	Create(ctx context.Context, s Spec) (Container, error)

	// Put unpacks a tar at the container's root, owners and modes kept.
	Put(ctx context.Context, c Container, tar io.Reader) error

	// Get reads path as a tar, whose names begin with path's last element.
	// The reader is to be closed.
	Get(ctx context.Context, c Container, path string) (io.ReadCloser, error)

	// Exec runs a step to its end, copying what it prints on both streams to
	// out as it appears, and returns its exit code. When ctx ends first Exec
	// returns at once with an error, while the step may run on until Remove.
	Exec(ctx context.Context, c Container, s Step, out io.Writer) (code int, err error)

	// Isolate takes the network away: only the loopback interface is left. It
	// is not an error if there was none.
	Isolate(ctx context.Context, c Container) error

	// Usage measures the container. Measuring the disk walks its files, so the
	// caller says when it is worth that.
	Usage(ctx context.Context, c Container, disk bool) (Usage, error)

	// Remove kills whatever runs in the container and removes it with its
	// network and its volumes. What is gone already is no error.
	Remove(ctx context.Context, c Container) error

	// Sweep removes the containers, networks and volumes of every job that is
	// not alive, as far as they carry this engine's builder name.
	Sweep(ctx context.Context, alive func(job string) bool) (removed int, err error)
}

// Images makes and names the images that containers are made of.
type Images interface {
	// Digest returns the id ("sha256:…") of the image that ref names, and
	// ErrNoImage if there is none here.
	Digest(ctx context.Context, ref string) (string, error)

	// Made returns when the image that ref names was made.
	Made(ctx context.Context, ref string) (time.Time, error)

	// Build makes an image of a tar with a Containerfile and names it tag.
	// pull looks for a newer base in its registry first. What the steps print
	// goes to out.
	Build(ctx context.Context, tar io.Reader, tag string, args map[string]string, pull bool, out io.Writer) error

	// Tag gives the image another name, taking it from whoever had it.
	Tag(ctx context.Context, image, tag string) error

	// Untag takes a name away, and the image too if that was its last. A name
	// that nobody has is no error.
	Untag(ctx context.Context, tag string) error

	// Prune removes the images that Build has made, that have lost their names
	// since, and that no container uses.
	Prune(ctx context.Context) error
}

// Container names a container that Create has made.
type Container struct {
	ID      string // the engine's
	Name    string
	Network string // its own network, "" for none
}

// Spec is everything that is fixed when a container is made.
type Spec struct {
	Job     string // in the label that Sweep goes by
	Base    string // pkgbase, in a label for whoever looks
	Image   string // id or reference; never pulled
	Network bool   // give it a network of its own
	Limits  Limits
	Mounts  []Mount
}

// Mount is a directory of the host, when Source is absolute, or else a volume
// of that name, made when it is missing and kept when the container goes.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Step is one command inside a running container.
type Step struct {
	User string // "root" or "build"
	Dir  string
	Env  []string
	Cmd  []string
}

// Usage is what a container takes at one moment.
type Usage struct {
	Running   bool  // its main process is there
	OOMKilled bool  // as the engine noticed; not all of them do
	Pids      int64 // processes and threads
	Disk      int64 // bytes it has written, and in volumes it can write to, -1 when not measured
	Free      int64 // bytes free where containers are kept, -1 when unknown
}

// Limits bound one container. Zero values mean no limit, except where noted.
type Limits struct {
	Memory  int64         // bytes, tmpfs included, swap excluded
	CPUs    float64       // cores' worth of time
	Pids    int64         // processes and threads
	Files   int64         // open files of one process
	Tmp     int64         // bytes in /tmp, which is memory
	Disk    int64         // bytes written, those that the caches had before included, and of any one file
	MinFree int64         // bytes that must stay free where containers are kept
	Timeout time.Duration // the whole job
	Silence time.Duration // nothing printed
	Output  int64         // bytes printed in all, kept or not
	Package int64         // bytes of one package file
}

// DefaultLimits are what a job gets of what the configuration does not say.
func DefaultLimits() Limits {
	return Limits{
		Memory:  4 << 30,
		CPUs:    2,
		Pids:    4096,
		Files:   16384,
		Tmp:     2 << 30,
		Disk:    32 << 30,
		MinFree: 1 << 30,
		Timeout: 2 * time.Hour,
		Silence: 20 * time.Minute,
		Output:  4 << 30,
		Package: 4 << 30,
	}
}

package build

import (
	"fmt"
	"strings"
)

// ending is everything known about a step of makepkg that did not exit with 0.
type ending struct {
	code     int
	message  string // the last error that makepkg printed, "" for none
	counters counters
	usage    Usage
	limits   Limits
}

// makepkg's messages, by what is in them, for the exit codes that say nothing.
var messages = []struct {
	has   string
	cause Cause
}{
	{"did not pass the validity check!", CauseChecksum},
	{"Integrity checks", CauseChecksum},
	{"PGP signatures could not be verified!", CausePGP},
	{"A failure occurred in package", CausePackage},
	{"A failure occurred in ", CauseCompile},
	{"Failed to source ", CausePackage},
	{"Failure while ", CauseSources},
	{"Failed to extract ", CauseSources},
	{"Unrecognized reference:", CauseSources},
	{"Unknown download protocol:", CauseSources},
	{"Unable to find source file", CauseSources},
	{"is not a URL.", CauseSources},
	{"is not a clone of ", CauseSources},
	{"The download program ", CauseDependency},
	{"Cannot find the ", CauseDependency},
	{"Could not resolve all dependencies.", CauseDependency},
}

// makepkg's exit codes, from its error.sh, for messages that say nothing. None
// of them means trouble of the machine: a PKGBUILD can exit with any, and a job
// that blames the machine is tried again and again.
var exits = map[int]Cause{
	5:  CausePackage, // package creation
	6:  CauseSources, // missing file
	7:  CausePackage, // missing pkgdir
	8:  CauseDependency,
	11: CausePackage, // a directory that was writable is not any more
	12: CausePackage, // PKGBUILD
	15: CauseDependency,
}

// failure finds the cause. What the kernel counted comes first, as a compiler
// that was killed for want of memory looks like any that failed.
func (e ending) failure() error {
	if f := e.exhausted(); f != nil {
		return f
	}
	if e.usage.noSpace(e.limits) { // it was faster than the guard
		return ErrNoSpace
	}
	return &Failure{e.cause(), e.text()}
}

func (e ending) exhausted() error {
	l := e.limits
	switch {
	case e.counters.oomKills > 0 || e.usage.OOMKilled:
		return &Failure{CauseMemory, fmt.Sprintf("more than %s of memory", size(l.Memory))}
	// A file system can be full before the last block of the limit is used.
	case l.Disk > 0 && e.usage.Disk >= l.Disk-l.Disk/20:
		return &Failure{CauseDisk, fmt.Sprintf("more than %s of disk", size(l.Disk))}
	case e.counters.refusedForks > 0:
		return &Failure{CausePids, fmt.Sprintf("more than %d processes", l.Pids)}
	}
	return nil
}

func (e ending) cause() Cause {
	for _, m := range messages {
		if strings.Contains(e.message, m.has) {
			return m.cause
		}
	}
	if cause, ok := exits[e.code]; ok {
		return cause
	}
	return CauseCompile
}

func (e ending) text() string {
	switch {
	case e.code > 128:
		return fmt.Sprintf("makepkg was killed by signal %d", e.code-128)
	case e.message == "":
		return fmt.Sprintf("makepkg exited with %d", e.code)
	default:
		return e.message
	}
}

// counters are the kernel's own, of a container's control group.
type counters struct {
	oomKills     int64
	refusedForks int64
}

// parseCounters reads the lines "oom_kill N" and "max N" of whichever of the
// files of both versions of control groups there were.
func parseCounters(text string) (c counters) {
	for line := range strings.Lines(text) {
		var key string
		var n int64
		if _, err := fmt.Sscanf(line, "%s %d", &key, &n); err != nil {
			continue
		}
		switch key {
		case "memory.oom_kill":
			c.oomKills = max(c.oomKills, n)
		case "pids.max":
			c.refusedForks = max(c.refusedForks, n)
		}
	}
	return c
}

// size words a limit as the configuration does.
func size(n int64) string {
	for _, u := range []struct {
		unit string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

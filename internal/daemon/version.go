package daemon

import "runtime/debug"

// version is set by the linker for a release: -ldflags
// "-X serene/internal/daemon.version=1.2.3".
var version string

// Version is the version of this build: the release's, or what the go command
// knows of the commit, or "devel".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

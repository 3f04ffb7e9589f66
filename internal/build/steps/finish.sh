# Ends a step of the user who builds, whose script follows this one.
#
# What the step has left running goes with it: as its user has no capabilities,
# "all processes" are its own, and never this shell. What a PKGBUILD exits with
# must not pass for one of the codes that mean trouble of the machine.
finish() {
	kill -KILL -1 2>/dev/null
	(($1 >= 90 && $1 < 100)) && exit 1
	exit "$1"
}

#!/bin/sh
# Makes pacman on this machine install from {{.URL}}.
#
#	ssh HOST setup | sudo sh                  checks, and shows what it would do
#	ssh HOST setup | sudo sh -s -- --apply    does it
#
# What is there already is left as it is, so it can be run again.
set -eu
umask 022

url={{quote .URL}}
repos={{quote (join .Repos)}}
keys={{quote (join .Trust)}} # fingerprints of those that sign packages and databases
conf=/etc/pacman.conf
anchor={{quote .Anchor}}

key() {
	cat <<'END'
{{.Key}}
END
}
{{if .Certificate}}
# The server signed its HTTPS certificate itself. SSH vouches for it:
# SHA-256 {{.Digest}},
# valid until {{.NotAfter}}.
certificate() {
	cat <<'END'
{{.Certificate}}END
}
{{end}}
say() { printf '%s\n' "$*"; }

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# Nothing has been changed yet when one of these ends it.
check() {
	for program in pacman pacman-key; do
		command -v $program >/dev/null || die "there is no $program on this machine"
	done
	[ -f $conf ] || die "there is no $conf"
	if [ $apply = yes ] && [ "$(id -u)" != 0 ]; then
		die "--apply is for root: ssh HOST setup | sudo sh -s -- --apply"
	fi
{{- if .Certificate}}
	if command -v update-ca-trust >/dev/null; then
		anchors=/etc/ca-certificates/trust-source/anchors update=update-ca-trust
	elif command -v update-ca-certificates >/dev/null; then
		anchors=/usr/local/share/ca-certificates update=update-ca-certificates
	else
		die "neither update-ca-trust nor update-ca-certificates is here, to trust the server's certificate with"
	fi
{{- end}}
	reachable
}

# The server answers, and is the one that SSH has reached.
reachable() {
	command -v curl >/dev/null || return 0
	trust=$(mktemp)
	set -- curl -sSf --max-time 20 -o /dev/null
{{- if .Certificate}}
	certificate >"$trust"
	set -- "$@" --cacert "$trust"
{{- end}}
	"$@" "$url/key.asc" </dev/null || {
		rm -f "$trust"
		die "$url cannot be reached from here"
	}
	rm -f "$trust"
}
{{if .Certificate}}
has_certificate() { certificate | cmp -s - "$anchors/$anchor.crt"; }

add_certificate() {
	mkdir -p $anchors &&
		certificate >"$anchors/$anchor.crt" &&
		$update </dev/null >/dev/null
}
{{end}}
# pacman-key writes "sig L" for what it has signed locally.
has_keys() {
	for id in $keys; do
		pacman-key --list-sigs "$id" </dev/null 2>/dev/null | grep -q '^sig *L' || return 1
	done
}

add_keys() {
	pacman-key --init </dev/null && key | pacman-key --add - || return 1
	for id in $keys; do
		pacman-key --lsign-key "$id" </dev/null || return 1
	done
}

has_repo() { grep -q "^ *\[$repo\]" $conf; }

# Whole or not at all: a machine whose pacman.conf is cut short is in trouble.
add_repo() {
	cp -p $conf $conf.serene && cat >>$conf.serene <<END && mv $conf.serene $conf

[$repo]
SigLevel = Required DatabaseRequired
Server = $url/\$repo/\$arch
END
}

# step WHAT THERE ADD: runs ADD, unless THERE says that it is not needed.
step() {
	if $2; then
		say "is there: $1"
	elif [ $apply = yes ]; then
		say "adding:   $1"
		$3 || die "this failed: $1"
		changed=yes
	else
		say "would add: $1"
		changed=yes
	fi
}

# Called on the last line, so that a script cut short does nothing.
main() {
	apply=no changed=no
	for arg; do
		case $arg in
		--apply) apply=yes ;;
		*)
			printf 'setup: unknown argument %s: --apply is the only one\n' "$arg" >&2
			exit 64
			;;
		esac
	done
	check
{{- if .Certificate}}
	step "the server's HTTPS certificate, in $anchors/$anchor.crt" has_certificate add_certificate
{{- end}}
	step "trust in the signing key $keys, by pacman-key" has_keys add_keys
	for repo in $repos; do
		step "[$repo] at $url/$repo, in $conf" has_repo add_repo
	done
	if [ $apply = yes ]; then
		pacman -Sy --noconfirm </dev/null
		say "done; pacman -S NAME installs from it"
	elif [ $changed = yes ]; then
		say "nothing is changed yet: ssh HOST setup | sudo sh -s -- --apply does it"
	fi
}

main "$@"

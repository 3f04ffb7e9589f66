# Installs what a package needs, as root. Arguments: the step, "net" or "local",
# the name of the local repository or "", then the dependencies.
#
# The step "all" does it in one go. Where there is a shared cache, "get" only
# downloads, and ends before anything of a package has run; "install" goes on.
#
# Exits with 90 when the local repository cannot be set up, 91 when a repository
# cannot be read, 92 when a package cannot be downloaded, 93 when one cannot be
# installed, 94 when that is for a file in the shared cache, which "damaged"
# lists, and 95 when "get" is done and there is something to install.
step=$1 network=$2 repo=$3
shift 3

mapfile -t missing < <(pacman -T -- "$@")
((${#missing[@]})) || { echo 'everything is there'; exit 0; }

run=/run/serene conf=/run/serene/pacman.conf caches=()
if [[ $step != all ]]; then
	mkdir -p $run/downloads
	# pacman downloads to the first one that it can write to, and looks in all.
	for dir in $run/downloads $run/cache $(pacman-conf CacheDir); do
		caches+=(--cachedir "$dir")
	done
fi

configure() {
	# The image's own pacman.conf decides, except that downloads are not left to
	# another user: that needs Landlock, which the container's seccomp profile may
	# forbid, and the container is sandbox enough.
	if [[ $network = net ]]; then
		sed 's/^[[:space:]]*DownloadUser/#&/' /etc/pacman.conf
	else
		awk '/^\[/ { keep = $0 == "[options]" } keep && !/^[[:space:]]*DownloadUser/' /etc/pacman.conf
	fi >$conf || exit 90
	[[ $repo ]] || return
	# Last, so that it cannot stand in for a package of the distribution.
	printf '\n[%s]\nSigLevel = Required\nServer = file:///run/serene/repo\n' "$repo" >>$conf
	{
		[[ -n $(find "$(pacman-conf GPGDir)private-keys-v1.d" -name '*.key' 2>/dev/null) ]] || pacman-key --init
		fingerprint=$(gpg --batch --quiet --with-colons --show-keys $run/key.asc | awk -F: '$1 == "fpr" { print $10; exit }')
		pacman-key --add $run/key.asc && pacman-key --lsign-key "$fingerprint"
	} >$run/pacman-key.log 2>&1 || { cat $run/pacman-key.log; exit 90; }
}

# transaction is pacman, for all that is missing. -u, as new packages must not
# meet old libraries.
transaction() {
	pacman --config $conf "${caches[@]}" -Su --needed --asdeps --noconfirm --noprogressbar "$@" -- "${missing[@]}" 2>&1
}

if [[ $step != install ]]; then
	configure
	if [[ ! $(pacman-conf --config $conf --repo-list) ]]; then
		printf 'error: no repository has %s\n' "${missing[@]}"
		exit 93
	fi
	pacman --config $conf -Sy --noconfirm --noprogressbar || exit 91
fi

only=()
[[ $step != get ]] || only=(--downloadonly)
transaction "${only[@]}" | tee $run/pacman.log
if ((PIPESTATUS[0] == 0)); then
	[[ $step = get ]] || exit 0
	transaction --print --print-format %f >$run/downloads/.used
	exit 95
fi
if [[ $step != all ]] && grep -q "corrupted\|$run/cache/" $run/pacman.log; then
	grep -o "$run/cache/[^ ]*" $run/pacman.log >$run/damaged
	exit 94
fi
grep -q 'failed retrieving file\|failed to retrieve' $run/pacman.log && exit 92
exit 93

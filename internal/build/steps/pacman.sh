# Installs what a package needs, as root. Arguments: "net" or "local", the name
# of the local repository or "", then the dependencies.
#
# Exits with 90 when the local repository cannot be set up, 91 when a repository
# cannot be read, 92 when a package cannot be downloaded, 93 when one cannot be
# installed.
network=$1 repo=$2
shift 2

mapfile -t missing < <(pacman -T -- "$@")
((${#missing[@]})) || { echo 'everything is there'; exit 0; }

# The image's own pacman.conf decides, except that downloads are not left to
# another user: that needs Landlock, which the container's seccomp profile may
# forbid, and the container is sandbox enough.
conf=/run/serene/pacman.conf
if [[ $network = net ]]; then
	sed 's/^[[:space:]]*DownloadUser/#&/' /etc/pacman.conf
else
	awk '/^\[/ { keep = $0 == "[options]" } keep && !/^[[:space:]]*DownloadUser/' /etc/pacman.conf
fi >"$conf" || exit 90
if [[ -d /run/serene/cache ]]; then
	# pacman downloads to the first one that it can write to.
	printf '\n[options]\nCacheDir = %s\nCacheDir = /run/serene/cache\n' "$(pacman-conf CacheDir | head -n1)" >>"$conf"
fi

if [[ $repo ]]; then
	# Last, so that it cannot stand in for a package of the distribution.
	printf '\n[%s]\nSigLevel = Required\nServer = file:///run/serene/repo\n' "$repo" >>"$conf"
	{
		[[ -n $(find "$(pacman-conf GPGDir)private-keys-v1.d" -name '*.key' 2>/dev/null) ]] || pacman-key --init
		fingerprint=$(gpg --batch --quiet --with-colons --show-keys /run/serene/key.asc | awk -F: '$1 == "fpr" { print $10; exit }')
		pacman-key --add /run/serene/key.asc && pacman-key --lsign-key "$fingerprint"
	} >/run/serene/pacman-key.log 2>&1 || { cat /run/serene/pacman-key.log; exit 90; }
fi

if [[ ! $(pacman-conf --config "$conf" --repo-list) ]]; then
	printf 'error: no repository has %s\n' "${missing[@]}"
	exit 93
fi
pacman --config "$conf" -Sy --noconfirm --noprogressbar || exit 91
# -u, as new packages must not meet old libraries.
run=(pacman --config "$conf" -Su --needed --asdeps --noconfirm --noprogressbar --)
"${run[@]}" "${missing[@]}" 2>&1 | tee /run/serene/pacman.log
((PIPESTATUS[0])) || exit 0
grep -q 'failed retrieving file\|failed to retrieve' /run/serene/pacman.log && exit 92
exit 93

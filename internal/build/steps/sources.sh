# Gets and verifies the sources, as the user who builds. Arguments: keyserver or
# "", then the fingerprints of validpgpkeys.
keyserver=$1
shift

shopt -s nullglob
keys=(keys/pgp/*.asc)
((${#keys[@]} && $#)) && gpg --batch --quiet --import -- "${keys[@]}"
for key; do
	gpg --batch --quiet --list-keys "$key" >/dev/null 2>&1 && continue
	[[ $keyserver ]] && gpg --batch --keyserver "$keyserver" --recv-keys "$key"
done
makepkg --verifysource --noconfirm
finish $?

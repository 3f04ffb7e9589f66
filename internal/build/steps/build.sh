# Builds, as the user who builds. Argument: "off" if there must be no network.
# Exits with 97 if there is one.
if [[ $1 = off ]]; then
	for interface in /sys/class/net/*; do
		[[ $interface = */lo ]] || { echo "the network is still there: $interface"; exit 97; }
	done
fi
makepkg --force --holdver --noconfirm
finish $?

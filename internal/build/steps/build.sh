# Builds, as the user who builds. Argument: "off" if there must be no network.
# Exits with 97 if there is one.
if [[ $1 = off ]]; then
	for interface in /sys/class/net/*; do
		[[ $interface = */lo ]] || { echo "the network is still there: $interface"; exit 97; }
	done
fi
# What a login shell of Arch finds as well, such as pod2man.
PATH+=:/usr/bin/site_perl:/usr/bin/vendor_perl:/usr/bin/core_perl
if [[ $CCACHE_DIR ]]; then
	type -P ccache >/dev/null || echo '  -> no ccache: the image does not have it'
	PATH=/usr/lib/ccache/bin:$PATH
fi
makepkg --force --holdver --noconfirm
finish $?

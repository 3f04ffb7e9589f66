# Makes the tar of an image with pacman and makepkg from Debian's packages.
# Argument: the file to write, which ends in .tar.zst. MIRROR is where Debian
# comes from.
set -euo pipefail
root=$(mktemp -d "$PWD/root.XXXXXX")
trap 'rm -rf --one-file-system "$root" "$1.part"' EXIT

packages=makepkg,pacman-package-manager,libarchive-tools # fakeroot and more come with them
packages+=,gcc,libc6-dev,make,file,git,curl,ca-certificates,gnupg,zstd
mkdir -p debs # downloads, for when this file changes
debootstrap --variant=minbase --cache-dir="$PWD/debs" --include="$packages" bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}"

chroot "$root" useradd --create-home --shell /bin/bash build
chroot "$root" pacman -Q || true # fails, having made its database, which makepkg reads
# The master key that local signatures are made with, as a real image has it.
chroot "$root" pacman-key --init
chroot "$root" gpgconf --homedir /etc/pacman.d/gnupg --kill all
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*

tar -C "$root" --numeric-owner --exclude='S.gpg-agent*' --exclude='./proc/*' --exclude='./dev/*' -c . | zstd -q -T0 -3 -o "$1.part"
mv "$1.part" "$1"

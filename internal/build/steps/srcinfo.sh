# Writes .SRCINFO to the directory for packages, as the user who builds.
makepkg --printsrcinfo >/pkgdest/.SRCINFO
finish $?

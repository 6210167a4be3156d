#!/bin/sh
# What mmdebstrap runs (--extract-hook) before it packs the base, whose folder is $1: of all that was
# downloaded only Python and what it links with is kept, and what packages' scripts would have made
# (none was run) is made here. No shell, no package manager, no pages of manuals.
set -eu
packages="ca-certificates libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal
    libpython3.11-stdlib libsqlite3-0 libssl3 libstdc++6 libuuid1 media-types python3.11-minimal zlib1g"

cd "$1"
mv var/cache/apt/archives /"${1#/}".debs
find . -xdev -mindepth 1 -maxdepth 1 ! -name dev -exec rm -rf {} +
mkdir -p dev etc/ssl/certs proc run sys tmp var/lib/dpkg/status.d
chmod 1777 tmp
for name in $packages; do
    # Versions have their colons as %3a.
    deb=$(echo "$1.debs/${name}"_*.deb)
    dpkg-deb --extract "$deb" .
    # As scanners of images read it where there is no dpkg.
    dpkg-deb --field "$deb" >"var/lib/dpkg/status.d/$name"
done
rm -rf "$1.debs"
ln -s python3.11 usr/bin/python3

# Licences stay: whoever passes the image on must pass them on, too.
find usr/share/doc -type f ! -name copyright -delete
find usr/share -mindepth 1 -maxdepth 1 ! -name doc ! -name ca-certificates -exec rm -rf {} +
find bin sbin usr/bin usr/sbin -mindepth 1 ! -name 'python3*' -exec rm -rf {} + 2>/dev/null || true
rm -rf usr/lib/*/gconv usr/lib/python3.11/idlelib usr/lib/python3.11/lib2to3 \
    usr/lib/python3.11/pydoc_data usr/lib/python3.11/test usr/lib/python3.11/turtle.py
# Modules of Python whose libraries are not here.
for module in usr/lib/python3.11/lib-dynload/*.so; do
    case $module in
        */nis.* | */_dbm.* | */readline.* | */_curses.* | */_curses_panel.*) rm "$module" ;;
    esac
done

find usr/share/ca-certificates -name '*.crt' -type f | LC_ALL=C sort | xargs cat \
    >etc/ssl/certs/ca-certificates.crt
printf '%s\n' 'root:x:0:0:root:/:/nonexistent' \
    'penstock:x:65532:65532:penstock:/nonexistent:/nonexistent' >etc/passwd
printf '%s\n' 'root:x:0:' 'penstock:x:65532:' >etc/group
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >etc/nsswitch.conf
find usr -depth -type d -empty -delete

#!/usr/bin/env bash
# Makes a host of its own out of new namespaces and becomes systemd in it; systemd.sh runs it as their
# first process. Usage: systemd_host.sh SPACE BINARY
#
# Everything that systemd and the services write is in memory and goes with the namespaces. The
# kernel's settings, the devices and the units of the real host are out of reach.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

space=$1 program=$2
readonly units=/lib/systemd/system

mount -t tmpfs -o mode=0755 tmpfs "$space"
mkdir "$space"/{bin,srv,home,dev}
cp -a /etc "$space/etc"
install -m 0755 "$program" "$space/bin/runscribe"

# The units as they are shipped, and of systemd's own the journal only.
own=$space/etc/systemd/system
rm -rf "$own" "$space/etc/systemd/journald.conf.d"
mkdir -p "$own"
cp "$repository"/systemd/*.service "$own/"
cp "$units"/systemd-journald.{service,socket} "$own/"
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\n' \
    >"$space/etc/systemd/journald.conf"
printf '[Unit]\nWants=systemd-journald.service\nAfter=systemd-journald.service\n' >"$own/basic.target"
for target in sysinit shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$own/$target.target"
done

# The user whom the units name.
echo 'researcher:x:54321:54321::/home/researcher:/bin/sh' >>"$space/etc/passwd"
echo 'researcher:x:54321:' >>"$space/etc/group"
install -d -o 54321 -g 54321 "$space/home/researcher"

mkdir "$space"/dev/{shm,pts}
chmod 1777 "$space/dev/shm"
for node in null zero full random urandom tty ptmx; do
    : >"$space/dev/$node"
    mount --bind "/dev/$node" "$space/dev/$node"
done
ln -s /proc/self/fd "$space/dev/fd"

mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --rbind "$space/dev" /dev
mount --bind "$space/etc" /etc
mount --bind "$space/bin" /usr/local/bin
mount --bind "$space/srv" /srv
mount --bind "$space/home" /home
mount -t tmpfs -o mode=0755 tmpfs /var/log
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount -t tmpfs -o mode=0755 tmpfs /run
cd /
# Last, because the folder of this check may lie below it.
mount -t tmpfs -o mode=1777 tmpfs /tmp

mkdir /run/no-generators
exec env -i PATH="$PATH" container=runscribe-ci \
    SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/run/no-generators \
    SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/no-generators \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no

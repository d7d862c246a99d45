#!/bin/busybox sh
# PID 1 of the test machine, on its ext4 disk. Runs the cases below (or those that the kernel's command line names in
# `cases=`), then powers off. With `killed=` or `survival=` it only does its part of the case of that name.
export PATH=/bin:/sbin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mkdir -p /dev/pts /dev/shm /dev/mqueue /run /tmp
busybox mount -t tmpfs run /run
busybox mount -t tmpfs tmp /tmp
# As systemd mounts it. What a container mounts for itself must not change it.
busybox mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
busybox ip link set lo up
busybox hostname vm
busybox --install -s /bin
. /powercut.sh
. /survival.sh

play() { minke play --image-archive /busybox.tar --data-dir "/data-$1" "/cases/$1.yaml" >/tmp/out 2>/tmp/err; }

limits() {
    play limits &&
        grep -q 'memory.max=67108864' /tmp/out &&
        grep -q 'pids=1$' /tmp/out
}

oom() {
    play oom
    [ $? = 137 ]
}

# It froze itself in a group below its own; it ends all the same, with the group.
frozen() {
    play frozen
    [ $? = 137 ] && grep -q 'frozen 1' /tmp/out
}

nothing_left() {
    grep -q '/sys/fs/cgroup cgroup2 .*nsdelegate.*memory_recursiveprot' /proc/mounts &&
        ! ls -d /sys/fs/cgroup/minke-* 2>/dev/null && ! ip link | grep -q ': mk'
}

case_of() {
    if "$1"; then
        echo "VM-OK $1"
    else
        cat /tmp/out /tmp/err /tmp/refused 2>/dev/null
        echo "VM-FAIL $1"
    fi
}

run_case() {
    case ",${cases:-$1}," in
    *",$1,"*) case_of "$1" >/dev/console 2>&1 ;;
    esac
}

if [ -n "$killed" ]; then
    case_of killed >/dev/console 2>&1
    poweroff -f
fi
if [ -n "$survival" ]; then
    case_of survival >/dev/console 2>&1
    sync
    poweroff -f
fi
run_case limits
run_case oom
run_case frozen
run_case nothing_left
run_case power_cuts
sync
poweroff -f

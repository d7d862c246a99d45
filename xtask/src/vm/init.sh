#!/bin/busybox sh
# PID 1 of the test machine, on its ext4 disk. Runs the cases below, then powers off.
export PATH=/bin:/sbin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mkdir -p /dev/pts /dev/shm /dev/mqueue /run /tmp
busybox mount -t tmpfs run /run
busybox mount -t tmpfs tmp /tmp
busybox mount -t cgroup2 cgroup /sys/fs/cgroup
busybox ip link set lo up
busybox hostname vm

play() { minke play --image-archive /busybox.tar --data-dir "/data-$1" "/cases/$1.yaml" >/tmp/out 2>/tmp/err; }

limits() {
    play limits &&
        busybox grep -q 'memory.max=67108864' /tmp/out &&
        busybox grep -q 'pids=1$' /tmp/out
}

oom() {
    play oom
    [ $? = 137 ]
}

nothing_left() {
    ! busybox ls -d /sys/fs/cgroup/minke-* 2>/dev/null && ! busybox ip link | busybox grep -q ': mk'
}

case_of() {
    if "$1"; then
        echo "VM-OK $1"
    else
        busybox cat /tmp/out /tmp/err
        echo "VM-FAIL $1"
    fi
}

run_case() { case_of "$1" >/dev/console 2>&1; }

run_case limits
run_case oom
run_case nothing_left
busybox sync
busybox poweroff -f

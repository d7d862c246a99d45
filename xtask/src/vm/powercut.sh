# Sourced by init.sh: the store on /dev/vdb, with dm-flakey between them, through moments in which the disk stops.
#
# `drop`: from one moment on writes are lost though the disk says otherwise, as when power fails: only what was
# acknowledged before that moment counts. `error`: writes fail and the disk says so; `pulled`: reads fail too, in
# turns of a second. In both of these every acknowledgement counts. What is not synced reaches the disk in any order:
# the kernel writes back all the time.

ACKED=/tmp/acked
DISK=/dev/dm-0

disk_table() {
    case "$1" in
    good) echo "0 $sectors linear /dev/vdb 0" ;;
    drop) echo "0 $sectors flakey /dev/vdb 0 0 600 1 drop_writes" ;;
    error) echo "0 $sectors flakey /dev/vdb 0 0 600 1 error_writes" ;;
    pulled) echo "0 $sectors flakey /dev/vdb 0 1 1" ;;
    esac
}

# Puts another table under the mounted filesystem without telling it.
disk_becomes() {
    dmsetup reload cut --table "$(disk_table "$1")" || return 1
    if [ "$1" = drop ]; then cp $ACKED $ACKED.counted; fi
    dmsetup suspend --nolockfs cut && dmsetup resume cut
}

# Up to a millisecond count, at random.
nap() { usleep $((RANDOM % $1 * 1000)); }

# Waits for acknowledgements of this life.
writing() {
    tries=0
    until [ "$(wc -l <$ACKED)" -gt "$1" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 "$writer"; then return 1; fi
        usleep 20000
    done
}

verify() { powercut verify /store $ACKED >$ACKED.more && cat $ACKED.more >>$ACKED; }

# One life of the store, ended by the disk.
life() {
    mount -t ext4 $DISK /store && verify || return 1
    before=$(wc -l <$ACKED)
    powercut write /store >>$ACKED 2>/tmp/refused &
    writer=$!
    writing $((before + 30)) && nap 600 && disk_becomes "$1" || return 1
    if [ "$1" = pulled ]; then usleep 1500000; fi
    nap 400
    kill -9 $writer
    wait $writer
    if [ "$1" = drop ]; then mv $ACKED.counted $ACKED; fi
    if [ "$1" != drop ] && ! [ -s /tmp/refused ]; then echo "$1: no write was refused"; return 1; fi
    umount /store
    disk_becomes good
}

power_cuts() {
    sectors=$(blockdev --getsz /dev/vdb)
    mkdir -p /store
    echo 5 >/proc/sys/vm/dirty_writeback_centisecs
    echo 5 >/proc/sys/vm/dirty_expire_centisecs
    : >$ACKED
    dmsetup create cut --table "$(disk_table good)" || return 1
    for how in drop error drop pulled drop error drop pulled; do
        life $how || return 1
        echo "$how: $(wc -l <$ACKED) acknowledged in all"
    done
    mount -t ext4 $DISK /store && verify && umount /store && dmsetup remove cut
}

# The machine itself is killed: verifies what earlier machines acknowledged (on the disk /dev/vdc), then writes and
# acknowledges on the serial line until the next kill, or with `killed=verify` ends.
killed() {
    mkdir -p /store && mount -t ext4 /dev/vdb /store || return 1
    powercut verify /store /dev/vdc >/dev/ttyS1 || return 1
    if [ "$killed" = write ]; then powercut write /store >/dev/ttyS1; fi
    umount /store
}

# Sourced by init.sh: Pods, Jobs, a static Pod and a deletion through a power cut and an orderly reboot, on /dev/vdb.
#
# `survival=begin`: brings them up and says so on the second serial line; the host then kills the machine. `=cut`: they
# come to what their policies say; then others are brought up and the machine is shut down in order. `=reboot`: those too.

k() {
    kubectl --kubeconfig /tmp/kubeconfig "$@" >/tmp/kubectl 2>&1 && return
    echo "kubectl $*: $(cat /tmp/kubectl)"
    return 1
}

up() {
    mkdir -p /data && mount -t ext4 /dev/vdb /data && mkdir -p /data/minke/manifests /data/go || return 1
    cp /cases/static.yaml /data/minke/manifests/
    minke up --data-dir /data/minke --kubeconfig /tmp/kubeconfig --listen 127.0.0.1:6443 \
        --image-archive /busybox.tar >/tmp/out 2>/tmp/err &
    daemon=$!
    until grep -q '^ready' /tmp/out; do
        kill -0 $daemon || return 1
        usleep 50000
    done
}

# kubectl takes its seconds in this machine: few calls.
begin() {
    sed "s/RUN/$1/g" /cases/world.yaml >/tmp/world.yaml
    k create -f /tmp/world.yaml &&
        k wait --for=condition=Ready "pod/$1-always" "pod/$1-never" "pod/$1-deleted" pod/fixed-vm --timeout=100s &&
        k wait --for='jsonpath={.status.ready}=1' "job/$1-never" "job/$1-onfailure" --timeout=100s &&
        k delete pod "$1-deleted" --wait=false
}

# What `begin` made, and how often the static Pod was started anew.
converged() {
    k wait --for=delete "pod/$1-deleted" --timeout=100s &&
        k wait --for='jsonpath={.status.phase}=Failed' "pod/$1-never" --timeout=100s &&
        k wait --for='jsonpath={.status.containerStatuses[0].restartCount}=1' "pod/$1-always" --timeout=100s &&
        k wait --for="jsonpath={.status.containerStatuses[0].restartCount}=$2" pod/fixed-vm --timeout=100s &&
        k wait --for=condition=Ready "pod/$1-always" pod/fixed-vm --timeout=100s &&
        k wait --for=condition=Complete "job/$1-never" "job/$1-onfailure" --timeout=100s &&
        ! grep 'brings nothing about' /tmp/err
}

# As an init does it: the daemon, then everybody, then the disks.
shut_down() {
    kill -TERM $daemon && wait $daemon || return 1
    kill -TERM -1
    usleep 300000
    kill -KILL -1
    tries=0
    while grep -q ' /data' /proc/mounts; do
        cut -d' ' -f2 /proc/mounts | grep '^/data' | sort -r | while read -r place; do umount "$place" 2>/dev/null; done
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then grep ' /data' /proc/mounts; return 1; fi
        usleep 50000
    done
}

survival() {
    up || return 1
    case "$survival" in
    begin) begin before && echo ready >/dev/ttyS1 && while :; do sleep 1; done ;;
    cut) converged before 1 && begin after && shut_down ;;
    reboot) converged after 2 && shut_down ;;
    esac
}

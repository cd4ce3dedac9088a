#!/usr/bin/env bash
# Two hosts on one machine, and pytest on the first of them.
#
#     VIDEO_R1_RUN=FOLDER tests/multinode/run.sh [pytest arguments]
#
# FOLDER holds a finished pipeline. Needs root, iproute2, openssh-server, pdsh and procps. Each host, worker-1 and
# worker-2, has network, mount, name and process namespaces of its own, with an sshd and an address in a private network
# that this machine's own network cannot reach. Keys and settings lie in a folder under /tmp; ~/.ssh stays as it is.
# The hosts end with this script, however it ends: the kernel kills all that runs in them.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(id -u)" != 0 ]; then
    echo "tests/multinode/run.sh: needs root, to create network namespaces" >&2
    exit 2
fi
for program in /usr/sbin/sshd ip unshare nsenter pdsh pkill ssh-keygen; do
    if ! command -v "$program" > /dev/null; then
        echo "tests/multinode/run.sh: no $program here: apt-get install openssh-server iproute2 util-linux pdsh procps" >&2
        exit 2
    fi
done

MULTINODE=$(mktemp -d /tmp/multinode-XXXXXX)
export MULTINODE
hosts=()
finish() {
    trap - EXIT INT TERM HUP
    kill -KILL "${hosts[@]}" 2> /dev/null || true # unshare --kill-child takes the host with it
    wait 2> /dev/null || true
    rm -rf "$MULTINODE"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ssh-keygen -q -t ed25519 -N '' -f "$MULTINODE/key"
ssh-keygen -q -t ed25519 -N '' -f "$MULTINODE/host_key"
cat > "$MULTINODE/sshd_config" << END
HostKey $MULTINODE/host_key
AuthorizedKeysFile $MULTINODE/key.pub
PasswordAuthentication no
StrictModes no
UsePAM no
END
cat > "$MULTINODE/ssh_config" << END
Host *
    User root
    IdentityFile $MULTINODE/key
    IdentitiesOnly yes
    UserKnownHostsFile $MULTINODE/known_hosts
    StrictHostKeyChecking yes
END
for number in 1 2; do
    echo "worker-$number $(cut -d' ' -f1,2 "$MULTINODE/host_key.pub")" >> "$MULTINODE/known_hosts"
    # As Debian's installer does, the hosts' own names lead to a loopback address.
    printf '127.0.0.1 localhost\n127.0.1.1 worker-%s\n' "$number" > "$MULTINODE/hosts.$number"
    printf '10.77.0.%s worker-%s\n' $((3 - number)) $((3 - number)) >> "$MULTINODE/hosts.$number"
done
echo "10.77.0.1 worker-1" >> "$MULTINODE/hosts.1" # DeepSpeed's launcher asks worker-1 by ssh, also on worker-1

# What a host does first; it ends when its sshd ends.
start_host() {
    hostname "worker-$1"
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    mkdir /run/sshd
    mount --bind "$MULTINODE/hosts.$1" /etc/hosts
    mount --bind "$MULTINODE/ssh_config" /etc/ssh/ssh_config
    ip link set lo up
    until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done
    ip address add "10.77.0.$1/24" dev eth0
    ip link set eth0 up
    touch "$MULTINODE/up.$1"
    exec /usr/sbin/sshd -D -e -f "$MULTINODE/sshd_config" 2> "$MULTINODE/sshd.$1.log"
}
export -f start_host

inits=()
for number in 1 2; do
    # A session of its own: Ctrl-C in the terminal reaches pytest and this script, not the hosts.
    setsid unshare --net --mount --uts --pid --fork --kill-child --mount-proc \
        bash -euc "start_host $number" < /dev/null &
    hosts+=($!)
    until init=$(cat "/proc/$!/task/$!/children") && [ -n "$init" ]; do sleep 0.05; done
    inits+=("${init// /}")
done
ip link add eth0 netns "${inits[0]}" type veth peer name eth0 netns "${inits[1]}"
until [ -e "$MULTINODE/up.1" ] && [ -e "$MULTINODE/up.2" ]; do sleep 0.05; done

python=$(realpath -s "${PYTHON:-.venv/bin/python}")
# In the background, because bash runs a trap only when what it waits for in the foreground has ended.
nsenter --target "${inits[0]}" --net --mount --uts --pid --wd="$PWD" \
    "$python" -m pytest -m multinode tests/multinode "$@" &
wait $!

#!/bin/sh
# two_machines.sh HOSTS SECOND COMMAND...: runs a command on `first`, which reaches `second` at the words of the script
# SECOND HOST COMMAND..., as by ssh.  Both are namespaces of this machine: a name, a network and a loopback of their own,
# with a cable between (10.77.0.1 and .2), and on each a bridge of the same address, as Docker's are, which leads nowhere.
# HOSTS: a file to stand in for /etc/hosts.  Run it by `unshare -nmu`, with -Ur where the user is not root.
set -e
hosts=$1 second=$2
shift 2
printf '127.0.0.1 localhost\n10.77.0.1 first\n10.77.0.2 second\n' > "$hosts"
mount --bind "$hosts" /etc/hosts
hostname first
unshare -nu sh -c 'hostname second; echo $$ > "$1.pid"; exec sleep 600' sh "$hosts" &
until [ -s "$hosts.pid" ]; do sleep 0.05; done
pid=$(cat "$hosts.pid")
trap 'kill $pid' EXIT
ip link add dev cable0 type veth peer name cable1 netns "$pid"
there() { nsenter -t "$pid" -n -u "$@"; }
number=1
for run in "" there; do
    $run ip link set dev lo up
    $run ip addr add 10.77.0.$number/24 dev cable$((number - 1))
    $run ip link set dev cable$((number - 1)) up
    $run ip link add dev docker0 type veth peer name leaf0
    $run ip addr add 172.17.0.1/16 dev docker0
    $run ip link set dev docker0 up
    $run ip link set dev leaf0 up
    number=2
done
printf '#!/bin/sh\nshift\nexec nsenter -t %s -n -u env -i PATH="%s" HOME="%s" sh -c "$*"\n' "$pid" "$PATH" "$HOME" > "$second"
chmod +x "$second"
"$@"

#!/bin/sh
# written by pragma_boot
# Tells on the serial console when this node is ready, and what it waits for until then. For dash and busybox.
# The loops start no program but `sleep` until there is somebody to talk to: emulated CPUs are slow.
# PRAGMA_ROOT is another root folder, for tests.
# shellcheck disable=SC1091,SC2154 # the facts are in /etc/pragma/node

root=${PRAGMA_ROOT-}
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
limit=1800 # seconds
at_once=8  # logins that are tried side by side
short=0.5
[ -h /bin/sleep ] && short=0.2 # busybox need not load a program for it

. "$root/etc/pragma/node"

say() { # on a line of its own, whatever a login prompt left there; opened anew, for a getty may hang the line up
    for console in "$root/dev/ttyS0" "$root/dev/console"; do
        [ -e "$console" ] || continue
        { printf '\n%s\n' "@REPORT_MARK@ $name $*" >> "$console"; } 2> /dev/null && return
    done
}

seconds() {
    read -r now _ < "$root/proc/uptime"
    now=${now%%.*}
}

nap() { # give up when it has taken too long
    seconds
    [ "$now" -lt "$end" ] || exit 1
    sleep "${1:-$short}" 2> /dev/null || sleep 1
}

await() { # CAUSE CHECK...: until the check is true
    cause=$1
    shift
    "$@" && return
    say waiting "$cause"
    until "$@"; do nap; done
}

has() { command -v "$1" > /dev/null 2>&1; }

is_named() {
    read -r current < "$root/proc/sys/kernel/hostname" && [ "$current" = "$hostname" ]
}

find_device() { # by MAC; bridges and bonds that took over the MAC have no hardware behind them
    for device in "$root"/sys/class/net/*; do
        [ -e "$device/device" ] || continue
        read -r found 2> /dev/null < "$device/address" && [ "$found" = "$1" ] && return
    done
    return 1
}

has_carrier() {
    find_device "$1" && { read -r carrier < "$device/carrier"; } 2> /dev/null && [ "$carrier" = 1 ]
}

is_local() { # one of this machine's addresses, as the kernel's routes have it
    while read -r word rest; do
        case $word in
            '|--') last=$rest ;;
            /32) [ "$last" = "$1" ] && [ "$rest" = 'host LOCAL' ] && return ;;
        esac
    done < "$root/proc/net/fib_trie"
    return 1
}

has_address() { # MAC ADDRESS DESTINATION MASK: the address is ours, and its network is behind the right device
    find_device "$1" && is_local "$2" || return 1
    [ "$4" = FFFFFFFF ] && return
    while read -r interface destination _ _ _ _ _ mask _; do
        [ "$interface" = "${device##*/}" ] && [ "$destination" = "$3" ] && [ "$mask" = "$4" ] && return
    done < "$root/proc/net/route"
    return 1
}

check_nic() { # NETWORK MAC ADDRESS DESTINATION MASK
    await "no-device $1" find_device "$2"
    await "no-carrier $1" has_carrier "$2"
    await "no-address $3" has_address "$2" "$3" "$4" "$5"
}

has_space() { # 64 KiB more fit on it; a file system that is read-only on purpose is left alone
    while read -r _ point _ options _; do
        [ "$point" = / ] && case $options in ro | ro,*) return ;; esac
    done < "$root/proc/mounts"
    [ -n "$filler" ] || {
        filler=0123456789abcde
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do filler=$filler$filler; done
    }
    { printf '%s\n' "$filler" > "$root/etc/pragma/space"; } 2> /dev/null
    status=$?
    { : > "$root/etc/pragma/space"; } 2> /dev/null
    return $status
}

has_key() {
    { while read -r line; do
        case $line in '#'*) ;; *"$key"*) return ;; esac
    done < "$root/root/.ssh/authorized_keys"; } 2> /dev/null
    return 1
}

has_sshd() { # port 22 (16 in hexadecimal), state 0A: it listens
    for table in "$root/proc/net/tcp" "$root/proc/net/tcp6"; do
        [ -e "$table" ] || continue
        while read -r _ local _ state _; do
            [ "$state" = 0A ] && case $local in *:0016) return ;; esac
        done < "$table"
    done
    return 1
}

resolves() {
    if has getent; then
        getent hosts "$1" > /dev/null 2>&1
    else
        while read -r _ names; do
            case " $names " in *[[:space:]]"$1"[[:space:]]*) return ;; esac
        done < "$root/etc/hosts"
        return 1
    fi
}

has_nat() { # the first thing that computes' users do may need the way out
    [ -e "$root$nat" ]
}

bounded() { # a program that must not take longer than five seconds
    if has timeout; then timeout 5 "$@"; else "$@"; fi
}

answers() { # whether an ssh server greets; true when we have nothing to ask with
    if has bash; then
        # shellcheck disable=SC2016 # bash expands it
        bounded bash -c 'exec 3<> "/dev/tcp/$0/22" && read -r -t 4 line <&3 && [[ $line == SSH-* ]]' "$1"
    elif has nc; then
        bounded nc -w 3 "$1" 22 < /dev/null | { read -r line && case $line in SSH-*) ;; *) false ;; esac; }
    fi 2> /dev/null
}

reaches() { # ADDRESS
    if has ping; then
        ping -c 1 -W 1 "$1" > /dev/null 2>&1 && return
        has bash || has nc || return 1
    fi
    answers "$1"
}

reaches_frontend() { resolves "$frontend" && reaches "$frontend_ip"; }

knows_names() { # those of the overlay's other clusters
    [ -e "$root$learnt" ]
}

enter() { # NODE ADDRESS: log in there without being asked anything
    answers "$2" || return 1
    if has ssh; then
        ssh -n -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=5 "root@$1" true
    elif has dbclient; then
        dbclient -T -i "$HOME/.ssh/id_dropbear" "root@$1" true < /dev/null
    fi > /dev/null 2>&1
}

enter_all() { # one round over $left, which keeps those that failed behind those that were not tried
    tries='' later='' count=0
    for node in $left; do
        if [ $count -lt $at_once ]; then
            enter "${node%,*}" "${node#*,}" &
            tries="$tries $!:$node"
        else
            later="$later $node"
        fi
        count=$((count + 1))
    done
    failed=''
    for try in $tries; do
        wait "${try%%:*}" || failed="$failed ${try#*:}"
    done
    left="$later$failed"
}

check_computes() {
    left=$computes told=''
    while [ -n "$left" ]; do
        enter_all
        case " $left " in
            '  ') return ;;
            *" $told,"*) [ -n "$told" ] || told='' ;;
            *) told='' ;;
        esac
        if [ -z "$told" ]; then
            told=${left# }
            told=${told%%,*}
            say waiting "no-compute $told"
        fi
        nap
    done
}

seconds
end=$((now + limit))
await wrong-name is_named
for nic in $nics; do
    rest=$nic
    set --
    while [ "$rest" != "${rest#*,}" ]; do
        set -- "$@" "${rest%%,*}"
        rest=${rest#*,}
    done
    check_nic "$@" "$rest"
done
await disk-full has_space
[ -z "$key" ] || await no-key has_key
await no-sshd has_sshd
if [ "$role" = compute ]; then
    await no-frontend reaches_frontend
else
    check_computes
    [ -z "$nat" ] || await no-nat has_nat
fi
[ -z "$overlay" ] || await "no-overlay $overlay" is_local "$overlay"
[ -z "$hub" ] || await "no-hub $hub" reaches "$hub"
[ -z "$learnt" ] || await no-names knows_names
say ready
for pause in 2 8; do # again, in case that a getty took the line over just then
    nap $pause
    say ready
done

#!/bin/sh
# written by pragma_boot
# How the nodes of several clusters in one overlay come to know each other's names. For dash and busybox.
#
#   names serve   at the hub, started by sshd for another cluster's frontend (a forced command): takes that cluster's
#                 names on standard input, answers with all that the hub knows
#   names sync    on such a frontend: does so again and again
#   names share   on a frontend: gives what it knows to its compute nodes
#   names take    on a compute node, started by its frontend: takes names on standard input
#
# A line is `ADDRESS NAME KEY`, KEY an ed25519 host key's base64 part or `-`; the last line is `end`. Nothing that comes
# in is believed: a name must end in .overlay and an address must be the overlay's, and not one of this cluster.
# PRAGMA_ROOT is another root folder, for tests.
# shellcheck disable=SC1091,SC2154 # the facts are in /etc/pragma/names.conf

root=${PRAGMA_ROOT-}
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
umask 022
interval=30 # seconds between two exchanges
held=300    # seconds that a name is its node's alone after its frontend was heard
kept=86400  # seconds after which a cluster that is not heard of any more is forgotten
most=1024   # lines
nl='
'

own=$root/etc/pragma/names.own     # this cluster's lines
known=$root/etc/pragma/names.known # the others': TIME and the line
state=$root/run/pragma-names
. "$root/etc/pragma/names.conf"

has() { command -v "$1" > /dev/null 2>&1; }

number() { # ADDRESS: its number in $value; false when it is none
    case $1 in
        *[!0-9.]* | *.*.*.*.* | .* | *. | *..*) return 1 ;;
        *.*.*.*) ;;
        *) return 1 ;;
    esac
    value=0 octets=$1.
    while [ -n "$octets" ]; do
        octet=${octets%%.*}
        octets=${octets#*.}
        case $octet in 0?* | ????*) return 1 ;; esac
        [ "$octet" -le 255 ] || return 1
        value=$((value * 256 + octet))
    done
}

is_member() { number "$1" && [ $((value & mask)) -eq "$network" ]; }

is_name() {
    case $1 in
        *[!a-z0-9.-]* | .* | -* | *..*) return 1 ;;
        ?*.overlay) [ ${#1} -le 150 ] ;;
        *) return 1 ;;
    esac
}

is_key() {
    case $1 in
        -) ;;
        *[!A-Za-z0-9+/=]*) return 1 ;;
        AAAAC3NzaC1lZDI1NTE5*) [ ${#1} -eq 68 ] ;;
        *) return 1 ;;
    esac
}

take_in() { # standard input: its good lines in $given; false when it was cut short
    given='' count=0
    while read -r address name key more; do
        [ "$address" = end ] && return
        count=$((count + 1))
        [ $count -le $most ] || return 1
        if is_member "$address" && is_name "$name" && is_key "$key" && [ -z "$more" ]; then
            given="$given$address $name $key$nl"
        else
            echo "refused: line $count" >&2
        fi
    done
    return 1
}

replace() { # FILE: by standard input, in one step
    cat > "$1.new" && mv -f "$1.new" "$1"
}

lock() { # NAME: hold it until the end; a holder that is gone holds it no more
    mkdir -p "$state"
    tries=20
    until ln -s $$ "$state/$1" 2> /dev/null; do # a link is there with its content, or not at all
        holder=$(readlink "$state/$1")
        [ -d "/proc/${holder:-self}" ] || rm -f "$state/$1"
        [ $((tries -= 1)) -gt 0 ] || exit 1
        sleep 1
    done
    trap 'rm -f "$state/$held_lock"' EXIT
    held_lock=$1
}

learn() { # [anew]: what is in $given is known from now on; anew: and nothing else
    time=$(date +%s) taken=' ' new='' claims=' '
    while read -r address name _; do
        claims="$claims$name=$address "
    done < "$own"
    mine=$claims
    [ "${1-}" != anew ] && [ -e "$known" ] || true | replace "$known"
    while read -r heard address name _; do
        [ "$heard" -gt "$time" ] || [ $((time - heard)) -ge $held ] || claims="$claims$name=$address "
    done < "$known"
    while read -r address name key; do
        [ -n "$address" ] || continue
        case $mine in *"=$address "*) continue ;; esac
        case $claims in
            *" $name=$address "*) ;;
            *" $name="*)
                echo "refused: $name is another node's" >&2
                continue
                ;;
        esac
        new="$new$time $address $name $key$nl"
        taken="$taken$address $name "
    done << END
$given
END
    while read -r heard address name key; do
        case $taken in *" $address "* | *" $name "*) continue ;; esac
        [ $((time - heard)) -ge $kept ] || new="$new$heard $address $name $key$nl"
    done < "$known"
    printf %s "$new" | sort -k 2 | replace "$known"
    publish
}

publish() { # to all who look names up on this node
    hosts='' keys=''
    while read -r _ address name key; do
        hosts="$hosts$address $name$nl"
        [ "$key" = - ] || keys="$keys$name,$address ssh-ed25519 $key$nl"
    done < "$known"
    merge "$root/etc/hosts" "$hosts"
    merge "$root/etc/ssh/ssh_known_hosts" "$keys"
}

merge() { # FILE LINES: our block in it, written only when it is another one than before
    block="# BEGIN pragma overlay$nl$2# END pragma overlay"
    [ -d "${1%/*}" ] && touch "$1" || return
    [ "$(sed -n '/^# BEGIN pragma overlay$/,/^# END pragma overlay$/p' "$1")" = "$block" ] && return
    { sed '/^# BEGIN pragma overlay$/,/^# END pragma overlay$/d' "$1" && echo "$block"; } | replace "$1"
    has restorecon && restorecon "$1"
}

tell() { # the lines of both files
    cat "$own"
    [ ! -e "$known" ] || while read -r _ line; do
        echo "$line"
    done < "$known"
    echo end
}

give() { # NODE: standard input, as this cluster's frontend may
    if has ssh; then
        ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 "root@$1" "/bin/sh /etc/pragma/names take"
    else
        dbclient -T -i "$HOME/.ssh/id_dropbear" "root@$1" "/bin/sh /etc/pragma/names take"
    fi
}

share() { # with the compute nodes that have not got it yet
    list=$(tell)
    for node in $computes; do
        [ -e "$state/$node" ] && [ "$(cat "$state/$node")" = "$list" ] && continue
        echo "$list" | give "$node" > /dev/null 2>&1 && echo "$list" > "$state/$node"
    done
}

ask_hub() { # our names in, its answer out; what WireGuard brought here was proved to be the hub's
    if has ssh; then
        ssh -i "$root/etc/pragma/names.key" -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10 \
            -o ServerAliveInterval=5 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
            -o GlobalKnownHostsFile=/dev/null -o LogLevel=ERROR "root@$hub" names
    else
        dbclient -T -y -y -i "$root/etc/pragma/names.dropbear" "root@$hub" names
    fi
}

exchange() {
    answer=$({ cat "$own" && echo end; } | ask_hub) || return
    take_in << END || return
$answer
END
    learn anew # the hub has told of all there are
    mkdir -p "$state"
    : > "$state/learnt"
}

case ${1-} in
    serve)
        take_in || exit 1
        lock learning
        learn
        tell
        /bin/sh "$0" share < /dev/null > /dev/null 2>&1 & # its caller need not wait for this
        ;;
    share)
        lock sharing
        share
        ;;
    sync)
        pause=1
        while :; do
            if exchange; then
                pause=$interval
                /bin/sh "$0" share
            elif [ $pause -lt $interval ]; then
                pause=$((pause * 2))
            fi
            sleep $pause
        done
        ;;
    take)
        take_in || exit 1
        learn anew
        ;;
    *)
        echo "usage: names serve|share|sync|take" >&2
        exit 2
        ;;
esac

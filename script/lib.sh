# Shared by script/setup, script/demo and script/test: packages, the virtual environment, libvirt's daemons.
# shellcheck shell=sh

home=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
log=$(mktemp "${TMPDIR:-/tmp}/pragma-setup.XXXXXX")
trap 'rm -f "$log"' EXIT

# To run virtual clusters from a checkout, and to build their images.
packages='python3-venv libvirt-daemon-system python3-libvirt dnsmasq-base iptables iproute2 qemu-system-x86 qemu-utils
    e2fsprogs openssh-client mmdebstrap debian-archive-keyring grub-common'
# And to test all of it.
test_packages='python3-guestfs busybox-static libvirt-clients nftables util-linux nginx-light openssl xfsprogs fdisk zsh fish
    openvswitch-switch wireguard-tools partclone pigz bzip2 xz-utils zstd lz4 lzop lzip lrzip xorriso gdisk dosfstools btrfs-progs ntfs-3g lvm2
    curl uidmap iperf3 systemd'

# Of these, what clusters without root need; what they can do without comes second.
user_packages='python3-venv qemu-system-x86 qemu-utils e2fsprogs openssh-client mmdebstrap debian-archive-keyring grub-common
    uidmap iproute2 util-linux'
user_wishes='fuse3'

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

quietly() { # COMMAND...: what it writes is shown only when it fails
    "$@" >"$log" 2>&1 || {
        status=$?
        tail -n 40 "$log" >&2
        say "error: this failed with status $status: $*"
        exit "$status"
    }
}

as_root() { # COMMAND...
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 2 ]; }; then
        sudo -E "$@"
    else
        fail "root is needed for: $*"
    fi
}

why_no_root() { # why nothing can be done as root here, or no bridges can be made; empty when all of it can
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 2 ]; } && return 0
        echo "you are not root and may not become it"
    elif command -v ip >/dev/null && ! ip link add "pb-try-$$" type bridge 2>/dev/null; then
        echo "this machine forbids bridges"
    elif [ -e "/sys/class/net/pb-try-$$" ]; then
        ip link delete "pb-try-$$"
        [ -c /dev/net/tun ] || echo "this machine has no /dev/net/tun"
    fi
}

missing() { # PACKAGE...: those that are not installed
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

install_packages() { # PACKAGE...
    wanted=$(missing "$@")
    [ -n "$wanted" ] || return 0
    say "installing $wanted"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        fail "run these as root, then repeat: apt-get update; apt-get install --no-install-recommends $wanted"
    fi
    quietly as_root apt-get -q update
    # shellcheck disable=SC2086 # one word each
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $wanted
}

make_environment() { # [dev|user]: .venv with us and what we need; anew when pyproject.toml has changed
    stamp=$home/.venv/.pragma-$(sha256sum <"$home/pyproject.toml" | cut -c1-16)
    modules='click, lxml, libvirt'
    [ "${1-}" != user ] || { # without root there is no libvirt
        modules='click, lxml'
        set --
    }
    if [ -e "$stamp-dev" ] || [ -e "$stamp-${1-}" ] || [ ! -w "$home" ]; then # somebody else's checkout is their care
        "$home/.venv/bin/python" -c "import $modules" 2>/dev/null && return 0
    fi
    [ -w "$home" ] || fail "you may not write to $home: work in a checkout of your own"
    say "preparing $home/.venv"
    quietly /usr/bin/python3 -m venv --system-site-packages "$home/.venv"
    quietly "$home/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$home${1:+[$1]}"
    touch "$stamp-${1-}"
}

libvirt_answers() {
    as_root "$home/.venv/bin/python" -c 'import libvirt; libvirt.open("qemu:///system")' 2>/dev/null
}

start_daemons() { # sets $started to those that we have started ourselves
    started=''
    libvirt_answers && return 0
    if [ -d /run/systemd/system ]; then
        quietly as_root systemctl start virtlogd.socket libvirtd.service
    else
        for daemon in virtlogd libvirtd; do
            pid=$(cat "/run/$daemon.pid" 2>/dev/null || echo none) # of one that was killed it may be anybody's by now
            [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$daemon" ] && continue
            quietly as_root "$daemon" -d
            started="$daemon $started"
        done
    fi
    tries=50 # libvirtd tells nobody when it listens
    until libvirt_answers; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "libvirt does not answer at qemu:///system; see its log in /var/log/libvirt"
        sleep 0.2
    done
}

stop_daemons() { # those of start_daemons
    for daemon in $started; do
        as_root kill "$(cat "/run/$daemon.pid")"
    done
}

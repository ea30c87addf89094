# shellcheck shell=bash
# What the stack needs from outside: Debian's packages and a cargo that is new enough. To be sourced
# after lib.sh. Asks for nothing when all is there.

# shellcheck disable=SC2153 # ROOT is from lib.sh
MIN_RUST=$(sed -n 's/^rust-version = "1\.\([0-9]*\)".*/\1/p' "$ROOT/Cargo.toml")

# new_enough CARGO
new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^cargo\ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= MIN_RUST))
}

# Puts the first cargo that is new enough at the front of PATH, its rustc with it.
find_cargo() {
    local cargo
    for cargo in "$(type -P cargo)" "${HOME-}/.cargo/bin/cargo" /usr/bin/cargo; do
        if [[ -x $cargo ]] && new_enough "$cargo"; then
            [[ $cargo -ef $(type -P cargo) ]] || PATH=${cargo%/*}:$PATH
            return 0
        fi
    done
    return 1
}

missing_packages() {
    have redis-server || echo redis-server
    have nginx || echo nginx
    have supervisord && have supervisorctl || echo supervisor
    have cc && have make || echo build-essential
    have pkg-config || echo pkg-config
    pkg-config --exists openssl 2>/dev/null || echo libssl-dev
    have curl || echo curl
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
    find_cargo || printf '%s\n' cargo-web rustc-web
}

# What scripts/chaos uses besides: kill, ip, faketime, and unshare, nsenter and mount.
missing_chaos_packages() {
    have kill || echo procps
    have ip || echo iproute2
    have faketime || echo faketime
    have unshare && have nsenter || echo util-linux
    have mount || echo mount
}

# What scripts/test uses besides: openssl, and rustfmt and clippy where they can come from Debian (a cargo
# from elsewhere brings its own or none).
missing_test_packages() {
    missing_chaos_packages
    have openssl || echo openssl
    ! find_cargo || [[ $(type -P cargo) == /usr/bin/cargo ]] || return 0
    cargo fmt --version >/dev/null 2>&1 || echo rustfmt-web
    cargo clippy --version >/dev/null 2>&1 || echo rust-web-clippy
}

# What the monitor group uses besides: collectd with the libraries of its plugins, which the package only suggests.
missing_monitor_packages() {
    local library package
    have collectd || echo collectd-core
    have influxd || echo influxdb
    while read -r library package; do
        ldconfig -p | grep -F "$library " >/dev/null || echo "$package"
    done <<LIBRARIES
libcurl-gnutls.so.4 libcurl3-gnutls
libhiredis.so.0.14 libhiredis0.14
libyajl.so.2 libyajl2
LIBRARIES
}

as_root() {
    if ((EUID)); then sudo -n "$@"; else "$@"; fi
}

# install_missing [PACKAGE...]: installs what the stack misses, and the named packages.
install_missing() {
    local packages
    mapfile -t packages < <(missing_packages)
    packages+=("$@")
    if ((${#packages[@]})); then
        say "missing packages: ${packages[*]}"
        have apt-get || die "apt-get is not here to install them: install what matches them by hand, then repeat"
        as_root true 2>/dev/null ||
            die "may not install them (not root, and no sudo without a password). Have this run first:
  sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}
(Where that starts system services, they are not needed here: systemctl disable --now redis-server nginx supervisor influxdb collectd)"
        as_root bash -c "$(declare -f apt_install); apt_install \"\$@\"" apt_install "${packages[@]}" ||
            die "apt-get could not install: ${packages[*]}"
    fi
    hash -r
    find_cargo || die "cargo 1.$MIN_RUST or newer is needed (Debian 12 has it as cargo-web in its security updates); see https://rustup.rs"
}

# find_promtool: sets PROMTOOL. Debian has it in the package of Prometheus, which would start one: only this program of the
# package is taken, and put beside what cargo builds.
find_promtool() {
    local dir
    ! PROMTOOL=$(type -P promtool) || return 0
    dir=$(target_directory)/promtool
    PROMTOOL=$dir/usr/bin/promtool
    [[ ! -x $PROMTOOL ]] || return 0
    have apt-get || die "promtool is not here, nor apt-get to fetch it: install it by hand (it comes with Prometheus), then repeat"
    say "fetching promtool"
    rm -rf "$dir"
    mkdir -p "$dir"
    (cd "$dir" && fetch_package prometheus && dpkg --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool) ||
        die "apt-get could not fetch the package prometheus, which has promtool"
    rm "$dir"/*.deb
}

fetch_package() {
    # As root apt-get warns that it could not hand the download to a user of its own.
    local options=(-q -o APT::Sandbox::User=root)
    apt-get download "${options[@]}" "$1" || { as_root apt-get update -q && apt-get download "${options[@]}" "$1"; }
}

# apt_install PACKAGE...: as root, in a shell of its own. The packages' own services are neither started
# now nor at the next boot: this stack has its own.
apt_install() {
    set -euo pipefail
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    local package services=() policy=/usr/sbin/policy-rc.d
    for package in redis-server nginx supervisor influxdb collectd-core; do
        dpkg-query -W "$package" >/dev/null 2>&1 || services+=("$package")
    done
    if [[ ! -e $policy ]]; then
        # shellcheck disable=SC2064 # the path is known now and local
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -q || true
    apt-get install -q --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
    for package in "${services[@]}"; do
        package=${package%-core}
        [[ -e /lib/systemd/system/$package.service ]] || continue
        ! command -v systemctl >/dev/null || systemctl --quiet disable "$package" || true
    done
}

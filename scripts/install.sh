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

# What scripts/browse uses besides.
missing_browser_packages() {
    have chromium || echo chromium
    have chromedriver || echo chromium-driver
    have python3 || echo python3
}

# What scripts/test uses besides: openssl, and rustfmt and clippy where they can come from Debian (a cargo
# from elsewhere brings its own or none).
missing_test_packages() {
    missing_chaos_packages
    missing_browser_packages
    have openssl || echo openssl
    ! find_cargo || [[ $(type -P cargo) == /usr/bin/cargo ]] || return 0
    cargo fmt --version >/dev/null 2>&1 || echo rustfmt-web
    cargo clippy --version >/dev/null 2>&1 || echo rust-web-clippy
}

# install_missing [PACKAGE...]: installs what the stack misses, and the named packages.
install_missing() {
    local packages root=()
    mapfile -t packages < <(missing_packages)
    packages+=("$@")
    if ((${#packages[@]})); then
        say "missing packages: ${packages[*]}"
        have apt-get || die "apt-get is not here to install them: install what matches them by hand, then repeat"
        if ((EUID)); then
            sudo -n true 2>/dev/null ||
                die "may not install them (not root, and no sudo without a password). Have this run first:
  sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}
(Where that starts system services, they are not needed here: systemctl disable --now redis-server nginx supervisor)"
            root=(sudo -n)
        fi
        "${root[@]}" bash -c "$(declare -f apt_install); apt_install \"\$@\"" apt_install "${packages[@]}" ||
            die "apt-get could not install: ${packages[*]}"
    fi
    hash -r
    find_cargo || die "cargo 1.$MIN_RUST or newer is needed (Debian 12 has it as cargo-web in its security updates); see https://rustup.rs"
}

# apt_install PACKAGE...: as root, in a shell of its own. The packages' own services are neither started
# now nor at the next boot: this stack has its own.
apt_install() {
    set -euo pipefail
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    local package services=() policy=/usr/sbin/policy-rc.d
    for package in redis-server nginx supervisor; do
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
        [[ -e /lib/systemd/system/$package.service ]] || continue
        ! command -v systemctl >/dev/null || systemctl --quiet disable "$package" || true
    done
}

# shellcheck shell=bash
# What the scripts share: words, settings, configuration, the running stack. To be sourced.
# Packages and cargo are in install.sh.

set -euo pipefail
exec </dev/null
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
have() { type -P "$1" >/dev/null; }

# until_true SECONDS COMMAND...: whether the command succeeded in time.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# Where cargo puts what it builds of this checkout.
target_directory() {
    cargo metadata --format-version 1 --no-deps --locked --manifest-path "$ROOT/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# --- Settings: the environment, then a file, then the defaults. supervisor/settings.env explains each.

# load_settings FILE: exports what the environment has not set already.
load_settings() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        [[ $line =~ ^([A-Z][A-Z0-9_]*)= ]] || continue
        [[ -v ${BASH_REMATCH[1]} ]] || export "${line?}"
    done <"$1"
}

# default NAME VALUE
default() { [[ -n ${!1-} ]] || export "$1=$2"; }

# remember NAME: keeps the setting for later runs.
remember() {
    local file=$POSTBACK_RUN/env
    { grep -v "^$1=" "$file" || true; printf '%s=%s\n' "$1" "${!1}"; } >"$file.new"
    mv "$file.new" "$file"
}

# All settings of a stack whose POSTBACK_RUN is known.
complete_settings() {
    local limit
    limit=$(ulimit -Hn)
    [[ $limit != unlimited ]] && ((limit < 65536)) || limit=65536
    default POSTBACK_SOCKETS "$POSTBACK_RUN"
    default POSTBACK_LOGS "$POSTBACK_RUN/log"
    default POSTBACK_BIN "$POSTBACK_RUN/bin"
    default POSTBACK_USER "$(id -un 2>/dev/null || true)"
    default POSTBACK_LISTEN 127.0.0.1:8000
    default POSTBACK_ACCESS_LOG /dev/stdout
    default POSTBACK_DELIVER_PROCS 2
    default POSTBACK_DELIVER_METRICS 127.0.0.1:91
    default POSTBACK_REDIS_MAXMEMORY 2gb
    default POSTBACK_REDIS_PORT 0
    default POSTBACK_REDIS_BIND 127.0.0.1
    default POSTBACK_MINFDS "$limit"
    default REDIS_URL "unix://$POSTBACK_SOCKETS/redis/redis.sock"
    default INGEST_ADMIN_LISTEN 127.0.0.1:8081
    default POSTBACK_MONITOR no
    default POSTBACK_INFLUX 127.0.0.1:8086
    default POSTBACK_INFLUX_BACKUP 127.0.0.1:8088
    default POSTBACK_COLLECTD 127.0.0.1:25826
    default INGEST_MAX_BODY 8MiB
    default INGEST_CLIENT_RATE 1000/s
    default POSTBACK_CLIENT_REQUESTS 256
    default POSTBACK_ADMIN_ALLOW '127.0.0.0/8 ::1'
    default POSTBACK_TRUST_PROXY none
    default POSTBACK_TLS_LISTEN ''
    default POSTBACK_TLS_CERTIFICATE ''
    default POSTBACK_TLS_KEY ''
    default DELIVER_DRAIN 30s
}

# --- Configuration: templates to files.

CHANGED=

# plain NAME...: settings that the configurations can hold.
plain() {
    local name
    for name; do
        [[ ${!name} != *[\"\\\;\#]* ]] || die "$name=${!name}: a setting takes no double quote, backslash, ; or #"
    done
}

# options PREFIX: the daemon's options among the settings, as supervisord's `environment` takes them.
options() {
    local name list=
    for name in REDIS_URL $(compgen -e | grep -E "^($1|POSTBACK_(PREFIX|SHARDS|LOG_FORMAT)$|RUST_LOG$)" || true); do
        [[ -n ${!name} ]] || continue
        plain "$name"
        list+=",$name=\"${!name//%/%%}\""
    done
    printf '%s' "${list#,}"
}

# seconds DURATION: whole seconds of 250ms, 5s, 2m, 1h or 1d, rounded up.
seconds() {
    [[ $1 =~ ^([0-9]+)(ms|s|m|h|d)$ ]] || die "$1: not a duration such as 30s or 2m"
    local n=${BASH_REMATCH[1]}
    case ${BASH_REMATCH[2]} in
        ms) echo $(((n + 999) / 1000)) ;;
        s) echo "$n" ;;
        m) echo $((n * 60)) ;;
        h) echo $((n * 3600)) ;;
        d) echo $((n * 86400)) ;;
    esac
}

# addresses NAME BEFORE AFTER: the setting's addresses and networks as nginx takes them; none of `none`.
addresses() {
    local address
    [[ ${!1} != none ]] || return 0
    for address in ${!1//,/ }; do
        [[ $address =~ ^[0-9A-Fa-f.:]+(/[0-9]+)?$ ]] ||
            die "$1: $address is no address or network such as 192.0.2.7 or 10.0.0.0/8"
        printf '%s%s%s; ' "$2" "$address" "$3"
    done
}

# What nginx.conf takes from the settings in words of its own. NGINX_CONNECTIONS leaves a quarter of the open files to
# bodies; a client's burst is what its rate allows in a second, rounded up, as a rate an hour is to one a minute. Who is
# refused waits for one request's share of the time.
nginx_values() {
    NGINX=$(type -P nginx) || die "nginx is not installed"
    plain POSTBACK_LISTEN POSTBACK_ACCESS_LOG POSTBACK_TLS_LISTEN POSTBACK_TLS_CERTIFICATE POSTBACK_TLS_KEY INGEST_ADMIN_LISTEN
    # None of nothing: to nginx 0 is no limit.
    [[ $INGEST_MAX_BODY =~ ^[1-9][0-9]*([KMG]iB)?$ ]] ||
        die "INGEST_MAX_BODY=$INGEST_MAX_BODY: must be a whole number of bytes, or one with its unit: 512KiB, 8MiB or 1GiB"
    NGINX_MAX_BODY=$(sed 's/KiB$/k/; s/MiB$/m/; s/GiB$/g/' <<<"$INGEST_MAX_BODY")
    NGINX_CONNECTIONS=$((POSTBACK_MINFDS * 3 / 4))
    ((NGINX_CONNECTIONS < 16384)) || NGINX_CONNECTIONS=16384
    if [[ $INGEST_CLIENT_RATE =~ ^([1-9][0-9]{0,6})/([smh])$ ]]; then
        local rate=${BASH_REMATCH[1]} unit=${BASH_REMATCH[2]}
        [[ $unit != h ]] || rate=$(((rate + 59) / 60)) unit=m
        NGINX_CLIENT_RATE=${rate}r/$unit
        NGINX_CLIENT_BURST=$rate
        [[ $unit == s ]] || NGINX_CLIENT_BURST=$(((rate + 59) / 60)) NGINX_CLIENT_WAIT=$(((59 + rate) / rate))
    elif [[ $INGEST_CLIENT_RATE != none ]]; then
        die "INGEST_CLIENT_RATE=$INGEST_CLIENT_RATE: must be a whole number and its unit, such as 1000/s, 50/m or 90/h, or none"
    fi
    NGINX_CLIENT_REQUESTS=${POSTBACK_CLIENT_REQUESTS/#none/}
    [[ $NGINX_CLIENT_REQUESTS =~ ^([1-9][0-9]{0,4})?$ ]] ||
        die "POSTBACK_CLIENT_REQUESTS=$POSTBACK_CLIENT_REQUESTS: must be a number from 1 to 65535, or none"
    NGINX_ADMIN=$INGEST_ADMIN_LISTEN
    NGINX_ADMIN_ALLOW=$(addresses POSTBACK_ADMIN_ALLOW '' ' 1')
    NGINX_TRUST_PROXY=$(addresses POSTBACK_TRUST_PROXY 'set_real_ip_from ' '')
    [[ -z $POSTBACK_TLS_LISTEN || -n $POSTBACK_TLS_CERTIFICATE && -n $POSTBACK_TLS_KEY ]] ||
        die "POSTBACK_TLS_LISTEN needs POSTBACK_TLS_CERTIFICATE and POSTBACK_TLS_KEY, files in PEM"
}

# fill TEMPLATE FILE: replaces @NAME@; a line with an empty setting is left out. Names the file in CHANGED
# where it is another than before.
fill() {
    local line name
    while IFS= read -r line || [[ -n $line ]]; do
        while [[ $line =~ @([A-Z_]+)@ ]]; do
            name=${BASH_REMATCH[1]}
            [[ -v $name ]] || die "$1: no setting named $name"
            [[ -n ${!name} ]] || continue 2
            line=${line//"@$name@"/"${!name}"}
        done
        printf '%s\n' "$line"
    done <"$1" >"$2.new"
    chmod 640 "$2.new" # REDIS_URL may hold a password
    ((EUID)) || chgrp -- "$(id -gn "$POSTBACK_USER")" "$2.new"
    cmp -s "$2.new" "$2" || CHANGED+=" ${2##*/}"
    mv "$2.new" "$2"
}

# configure_monitor DIRECTORY OWNER...: the configurations and folders of the group `monitor`; where it is not wanted, none.
configure_monitor() {
    local -x INFLUXD COLLECTD COLLECTD_HOST COLLECTD_PORT COLLECTD_TYPES NGINX_STATUS COLLECTD_TOKEN=''
    local dir=$1
    shift
    if [[ $POSTBACK_MONITOR == no ]]; then
        rm -f -- "$dir/monitor.conf" "$dir/influxdb.conf" "$dir/collectd.conf"
        return
    fi
    [[ $POSTBACK_MONITOR == yes ]] || die "POSTBACK_MONITOR=$POSTBACK_MONITOR: must be yes or no"
    plain POSTBACK_INFLUX POSTBACK_INFLUX_BACKUP POSTBACK_COLLECTD
    INFLUXD=$(type -P influxd) || die "influxdb is not installed"
    COLLECTD=$(type -P collectd) || die "collectd is not installed"
    COLLECTD_TYPES=/usr/share/collectd/types.db
    COLLECTD_HOST=${POSTBACK_COLLECTD%:*} COLLECTD_PORT=${POSTBACK_COLLECTD##*:}
    # nginx tells its figures to loopback alone, where its port is open on every address.
    case $POSTBACK_LISTEN in
        *:*) NGINX_STATUS=${POSTBACK_LISTEN/#0.0.0.0:/127.0.0.1:} ;;
        *) NGINX_STATUS=127.0.0.1:$POSTBACK_LISTEN ;;
    esac
    NGINX_STATUS=${NGINX_STATUS/#\*:/127.0.0.1:}
    NGINX_STATUS=${NGINX_STATUS/#\[::\]:/[::1]:}
    if [[ -n ${INGEST_ADMIN_TOKEN_FILE-} ]]; then
        COLLECTD_TOKEN=$(grep -m 1 -v '^[[:space:]]*\(#\|$\)' "$INGEST_ADMIN_TOKEN_FILE") ||
            die "INGEST_ADMIN_TOKEN_FILE=$INGEST_ADMIN_TOKEN_FILE: no token in it"
        plain COLLECTD_TOKEN
    fi
    install -d -m 700 "$@" "$POSTBACK_RUN/influxdb" "$POSTBACK_RUN/collectd"
    fill "$ROOT/supervisor/influxdb.conf.in" "$dir/influxdb.conf"
    fill "$ROOT/supervisor/collectd.conf.in" "$dir/collectd.conf"
    fill "$ROOT/supervisor/monitor.conf.in" "$dir/monitor.conf"
}

# configure DIRECTORY: writes the configurations and makes the folders that they name.
configure() {
    local -x POSTBACK_CONF=$1 REDIS_SERVER SUPERVISOR_USER NGINX_USER='' NGINX NGINX_MAX_BODY NGINX_CONNECTIONS
    local -x NGINX_CLIENT_RATE='' NGINX_CLIENT_BURST='' NGINX_CLIENT_WAIT=1 NGINX_CLIENT_REQUESTS NGINX_ADMIN NGINX_ADMIN_ALLOW NGINX_TRUST_PROXY
    local -x OPTIONS_INGEST OPTIONS_DELIVER STOP_DELIVER_SECONDS LOG_IS_JOINED=true LOG_OF_STDOUT=deliver LOG_OF_STDERR=
    local name owner=() mode=700
    for name in POSTBACK_CONF POSTBACK_RUN POSTBACK_SOCKETS POSTBACK_LOGS POSTBACK_BIN; do
        [[ ${!name} == /* && ${!name} != *[[:cntrl:]\"\\\;\#%@\$]* ]] ||
            die "$name=${!name}: no path that the configurations can hold; set another"
    done
    REDIS_SERVER=$(type -P redis-server) || die "redis-server is not installed"
    nginx_values
    SUPERVISOR_USER=$(id -un 2>/dev/null || true)
    default INGEST_NGINX_STATUS "http://127.0.0.1:${POSTBACK_LISTEN##*:}/nginx_status"
    OPTIONS_INGEST=$(options INGEST_)
    OPTIONS_DELIVER=$(options DELIVER_)
    case ${DELIVER_LOG_DELIVERIES-} in
        '' | false | no | off | 0) ;;
        *) LOG_IS_JOINED='' LOG_OF_STDOUT=deliveries LOG_OF_STDERR=deliver ;;
    esac
    STOP_DELIVER_SECONDS=$(($(seconds "$DELIVER_DRAIN") + 10))
    if ((EUID == 0)); then
        NGINX_USER=$POSTBACK_USER
        owner=(-o "$POSTBACK_USER")
        [[ $POSTBACK_USER == "$SUPERVISOR_USER" ]] || mode=711
    fi
    # The programs' user writes to folders of its own alone: what root reads and writes is out of its reach.
    install -d -m "$mode" "$POSTBACK_RUN" "$POSTBACK_SOCKETS"
    install -d -m 700 "$POSTBACK_LOGS"
    install -d -m 700 "${owner[@]}" "$POSTBACK_RUN/redis" "$POSTBACK_RUN/nginx" \
        "$POSTBACK_SOCKETS/redis" "$POSTBACK_SOCKETS/ingest"
    fill "$ROOT/supervisor/supervisord.conf.in" "$1/supervisord.conf"
    fill "$ROOT/supervisor/redis.conf.in" "$1/redis.conf"
    fill "$ROOT/nginx/nginx.conf.in" "$1/nginx.conf"
    # What is no file, as /dev/stdout, is supervisord's to rotate.
    [[ $POSTBACK_ACCESS_LOG == /dev/* ]] || fill "$ROOT/nginx/logrotate.conf.in" "$1/logrotate.conf"
    configure_monitor "$1" "${owner[@]}"
}

# --- The stack that runs privately in POSTBACK_RUN (run/ in the checkout unless set).

open_stack() {
    POSTBACK_RUN=$(realpath -m -- "${POSTBACK_RUN:-$ROOT/run}")
    export POSTBACK_RUN
    [[ ! -e $POSTBACK_RUN/env ]] || load_settings "$POSTBACK_RUN/env"
    complete_settings
}

ctl() { supervisorctl -c "$POSTBACK_RUN/supervisord.conf" "$@"; }

# The process id of this stack's supervisord, if it runs.
stack_pid() {
    local pid
    pid=$(cat "$POSTBACK_RUN/supervisord.pid" 2>/dev/null) &&
        grep -qaF -- "$POSTBACK_RUN/supervisord.conf" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}

# Programs of this stack that outlived a supervisord which was killed.
leftovers() {
    local file words program
    for file in /proc/[0-9]*/cmdline; do
        { mapfile -d '' -t words <"$file"; } 2>/dev/null || continue
        program=${words[0]-}
        program=${program%% *}
        # shellcheck disable=SC2153
        case "${program##*/} ${words[*]} " in
            "ingest $POSTBACK_BIN/ingest "* | "deliver $POSTBACK_BIN/deliver "* | \
                "redis-server "*" $POSTBACK_RUN/redis.conf "* | \
                "influxd "*" $POSTBACK_RUN/influxdb.conf "* | \
                "collectd "*" $POSTBACK_RUN/collectd.conf "* | \
                "nginx: "*" master process "*" $POSTBACK_RUN/nginx.conf "*) echo "${file//[!0-9]/}" ;;
        esac
    done
}

nothing_left() { [[ -z $(leftovers) ]]; }

stop_leftovers() {
    local pids
    mapfile -t pids < <(leftovers)
    ((${#pids[@]})) || return 0
    say "stopping what an earlier supervisord left: ${pids[*]}"
    kill -TERM "${pids[@]}" || true
    until_true 60 nothing_left || die "still running: $(leftovers | tr '\n' ' ')"
}

# shellcheck shell=bash
# What the scripts that test a running nginx share. To be sourced after lib.sh.

# expect WHAT PATTERN TEXT
expect() {
    # shellcheck disable=SC2053 # a pattern
    [[ $3 == $2 ]] || die "$1: expected $2, got: $3"
    say "ok: $1"
}

# answer CURL-ARGUMENTS...: head and body.
answer() { curl -sS -i --noproxy '*' --max-time 30 "$@"; }

post() { answer -H 'Content-Type: application/json' --data-binary "$@"; }

#!/usr/bin/env bash
# Sets the project up on a fresh machine, from nothing but Python 3.11 or newer.
#
#   ./setup.sh                    packages, .env, database
#   ./setup.sh demo               the same, then the demo
#   ./setup.sh test [arguments]   the same, then the tests; arguments go to pytest
#   ./setup.sh test --long [...]  each fault tried as often as before a release
#   ./setup.sh bench [arguments]  the same as the first, then a benchmark, see bench/README.md
#
# Run it as often as you like: what is done is not done again. PYTHON=... chooses the Python
# of a new .venv. Written for bash 3.2 too, which is what macOS has.
set -euo pipefail
unset CDPATH
cd -P "$(dirname "${BASH_SOURCE[0]}")"

PY=.venv/bin/python
INSTALLED=.venv/installed     # written last: the Python and the requirements that are in .venv
INITIALISED=.venv/initialised # what the database was prepared from
LOG=data/setup.log
NEEDED_MB=400 # 205 MB of packages, and about as much while they are unpacked

# Without bytecode every start compiles all packages, which makes it three times slower.
unset PYTHONDONTWRITEBYTECODE
# Settings of the user's own that would send packages elsewhere or bring in others.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

main() {
  case ${1-} in
    '' | demo | test | bench) ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  trap 'fail "interrupted; run ./setup.sh again to go on"' INT TERM
  # People's addresses will be here, so nobody else may look in.
  [ -d data ] || mkdir -m 700 data || fail "this folder cannot be written to"

  local changed=
  lock
  is_installed || { install; changed=1; }
  write_env
  is_initialised || { initialise; changed=1; }
  exec 9>&- # the lock
  trap - INT TERM

  case ${1-} in
    demo) exec "$PY" cli.py demo ;;
    bench)
      shift
      exec "$PY" -m bench "${@:-campaign}"
      ;;
    test)
      shift
      if [ "${1-}" = --long ]; then
        shift
        export FAULT_TIER=long # tests/faults/tiers.py
        # A test that waits for its server leaves a core idle: one more than there are.
        [ $# -gt 0 ] ||
          set -- tests/faults -n $(($(getconf _NPROCESSORS_ONLN) + 1)) --dist worksteal
      fi
      exec "$PY" -m pytest "$@"
      ;;
  esac
  [ -n "$changed" ] || say "Nothing to do: everything is set up."
  say "Try ./setup.sh demo, or start the server: python3 app.py"
}

usage() { sed -n '4,8s/^# *//p' "${BASH_SOURCE[0]}"; }

say() { printf '%s\n' "$*"; }

fail() {
  printf 'setup.sh: %s\n' "$*" >&2
  exit 1
}

# --- one run at a time ------------------------------------------------------------------

# Python does the locking, because macOS has no flock command. The lock belongs to the open
# file, descriptor 9, so it outlives that Python and ends with us, however we end.
lock() {
  local python=$PY
  if ! works "$python"; then
    find_python
    python=$found
  fi
  exec 9>>data/setup.lock
  "$python" -S -c '
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("Waiting for another ./setup.sh to finish", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)'
}

# --- Python and the packages ------------------------------------------------------------

works() { "$1" -S -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

has_uv() { command -v uv >/dev/null; }

# The Python to build .venv with, in `found`.
find_python() {
  local candidate incomplete=
  for candidate in ${PYTHON+"$PYTHON"} python3.13 python3.12 python3.11 python3 python3.14 python; do
    works "$candidate" || continue
    found=$(command -v "$candidate")
    # Debian packs these two apart from Python; uv does without them.
    if has_uv || "$found" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    incomplete=$found
  done
  [ -z "$incomplete" ] ||
    fail "$incomplete cannot make environments; on Debian or Ubuntu: apt install python3-venv"
  fail "Python 3.11 or newer is needed, and python3 is $(python3 -V 2>/dev/null || say 'not installed')"
}

# What `installed` must say. A Python that was upgraded under .venv has none of its packages.
wanted() { "$PY" -S -V && cat requirements.txt; }

is_installed() { works "$PY" && wanted | cmp -s - "$INSTALLED"; }

install() {
  [ "$(free_mb)" -ge "$NEEDED_MB" ] ||
    fail "the disk is full: $(free_mb) MB are free here, $NEEDED_MB MB are needed"
  rm -f "$INSTALLED"
  if ! works "$PY" || ! { has_uv || "$PY" -c 'import pip' 2>/dev/null; }; then
    find_python
    say "Creating .venv with $("$found" -V) ($found)"
    rm -rf .venv
    if has_uv; then
      attempt uv venv --quiet --python "$found" .venv
    else
      attempt "$found" -m venv .venv
    fi
  fi
  if has_uv; then
    say "Installing the packages of requirements.txt with uv"
    attempt uv pip install --python "$PY" --require-hashes --compile-bytecode -r requirements.txt
  else
    say "Installing the packages of requirements.txt with pip, which takes half a minute"
    attempt "$PY" -m pip install --progress-bar off --retries 2 --timeout 15 \
      --require-hashes --compile -r requirements.txt
  fi
  "$PY" -m compileall -q ./*.py api config database services utils >/dev/null || true
  wanted >"$INSTALLED.new"
  mv "$INSTALLED.new" "$INSTALLED"
}

free_mb() { df -Pk . | awk 'NR == 2 { print int($4 / 1024) }'; }

# Runs a command with its output in the log; a failure becomes one line.
attempt() {
  if "$@" 2>&1 | tee "$LOG" | dots; then return; fi
  if [ "$(free_mb)" -lt 20 ] || in_log 'no space left|os error 28|errno 28|quota exceeded'; then
    fail "the disk is full: free some space (here, in TMPDIR, in ~/.cache), then run ./setup.sh again"
  elif in_log 'hash mismatch|do not match the hashes'; then
    fail "a package is not the one that requirements.txt names by its hash; see $LOG"
  elif in_log 'connection|connect error|resolution|resolve host|dns error|timed out|error sending request|unreachable|proxy|certificate'; then
    fail "the package registry does not answer: check the network or the proxy; see $LOG"
  fi
  fail "'${1##*/}' failed: $(tail -n 1 "$LOG") (all of it: $LOG)"
}

in_log() { grep -Eiq "$1" "$LOG"; }

# A dot for each package that pip takes up.
dots() {
  local line any=
  while IFS= read -r line; do
    case $line in
      Collecting*) printf . && any=1 ;;
      Installing*) printf ' unpacking' && any=1 ;;
    esac
  done
  [ -z "$any" ] || say
}

# --- .env -------------------------------------------------------------------------------

write_env() {
  if [ ! -e .env ] && [ ! -L .env ]; then
    say "Writing .env: sandbox mode, random API_KEY and SECRET_KEY"
    fill_keys .env.example
  elif [ ! -L .env ] && grep -Eq '^(API|SECRET)_KEY=(your_.*_here)?$' .env; then
    say "Writing a random key into .env where it had none"
    fill_keys .env
  fi
  case $(ls -lL .env) in
    -???------*) ;;
    *) chmod 600 .env && say "Others could read .env: changed its mode to 600" ;;
  esac
}

# Never changes a key that is set.
fill_keys() {
  (
    umask 077
    sed -e "s/^API_KEY=\(your_.*_here\)\{0,1\}$/API_KEY=$(random)/" \
      -e "s/^SECRET_KEY=\(your_.*_here\)\{0,1\}$/SECRET_KEY=$(random)/" "$1" >.env.new
  )
  mv .env.new .env
}

random() { "$PY" -S -c 'import secrets; print(secrets.token_urlsafe(32))'; }

# --- the database -----------------------------------------------------------------------

# A start of cli.py costs a third of a second, so it is left out while nothing it would look
# at has changed. A database that is no file is always looked at.
is_initialised() {
  [ -f "$(database_file)" ] && [ "$(origin)" = "$(cat "$INITIALISED" 2>/dev/null)" ]
}

initialise() {
  say "Preparing the database"
  "$PY" cli.py init || fail "the database could not be prepared"
  origin >"$INITIALISED"
}

origin() {
  { say "${DATABASE_URL-}" && cat .env requirements.txt database/migrations/versions/*.py; } | cksum
}

database_file() {
  local url=${DATABASE_URL-$(sed -n 's/^DATABASE_URL=//p' .env | tail -n 1)}
  case ${url:=sqlite:///data/email.db} in
    sqlite:///*) say "${url#sqlite:///}" ;;
  esac
}

main "$@"

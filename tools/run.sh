#!/bin/sh
# The one launcher: sets up what is missing, then runs. `sh tools/run.sh help` tells how.
#
# Exit status: that of the command; 2 for a wrong call or a wrong $PYTHON; 3 where no Python
# fits or the set-up failed. Nothing but set-up touches the network, and every attempt is bounded.
set -eu
unset CDPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_USER

# glibc keeps buffers up to 100 MB, in huge pages: less time in the networks
# (official/multimodal/taming_transformer/runtime.py says what each setting does).
heap=glibc.malloc.mmap_threshold=100000000:glibc.malloc.trim_threshold=2147483647
heap=$heap:glibc.malloc.top_pad=16777216:glibc.malloc.arena_max=1:glibc.malloc.tcache_max=24
heap=$heap:glibc.malloc.mxfast=0:glibc.malloc.hugetlb=1
GLIBC_TUNABLES=${GLIBC_TUNABLES-$heap}
export GLIBC_TUNABLES

SUPPORTED='3.10 3.9 3.8'
INSTALL_LIMIT=1800 # seconds for one pip install
LOCK_LIMIT=3600    # seconds to wait for another set-up of this folder

# Prints "VERSION PATH" of a usable interpreter. Out of a virtual environment it is the one that
# made it: that environment may be the one about to be replaced.
PROBE='
import os, platform, struct, sys
if platform.python_implementation() != "CPython" or struct.calcsize("P") != 8:
    sys.exit("not a 64-bit CPython")
import ensurepip, venv
version = "%d.%d" % sys.version_info[:2]
path = sys.executable
if sys.prefix != sys.base_prefix:
    base = os.path.join(sys.base_prefix, "bin", "python" + version)
    path = base if os.path.exists(base) else path
print(version, path)
'

# Takes the lock on file descriptor 9, which the shell keeps open: the system frees it when the
# last process of the set-up ends, however it ends, so no lock can be left behind.
LOCK='
import fcntl, sys, time
end, told = time.time() + float(sys.argv[1]), False
while True:
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        if time.time() > end:
            sys.stderr.write("run.sh: another set-up holds this folder; stop it first\\n")
            sys.exit(3)
        if not told:
            sys.stderr.write("run.sh: waiting for another set-up of this folder\n")
        told = True
        time.sleep(0.2)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.stderr.write("run.sh: this disk has no locks (%s): run one set-up at a time\n" % error)
        break
'

say() { printf 'run.sh: %s\n' "$*" >&2; }

die() {
    status=$1
    shift
    say "$*"
    exit "$status"
}

usage() {
    cat <<'END'
usage: sh tools/run.sh COMMAND [ARGUMENT...]

  demo [PHOTO]        set up, then show what the models do
  test [--all] [...]  set up, then lint, types and tests; --all adds the slow tests;
                      the rest goes to pytest, such as -k NAME
  web                 the demo as a page in the browser
  evaluate [...]      figures and a report of models over a folder of pictures
  docs                the API reference and all pages as a static site
  python [...]        the project's own Python
  setup               set up only
  TOOL [...]          any of the tools below; each knows --help

The tools:
END
    for usage_file in tools/*.py; do
        [ -f "$usage_file" ] && printf '  %s\n' "$(basename -- "$usage_file" .py)"
    done
    cat <<'END'

Relative paths are taken from the folder where you are. The set-up needs CPython 3.8, 3.9 or
3.10; PYTHON=/path/to/python3.10 names one. It lives in .venv, which may be removed at any time.
END
}

# bounded SECONDS COMMAND...: run COMMAND, for so long at most where the machine has `timeout`.
bounded() {
    bounded_limit=$1
    shift
    if timeout --foreground 1 true 2>/dev/null; then
        timeout --foreground "$bounded_limit" "$@"
    elif timeout 1 true 2>/dev/null; then
        timeout "$bounded_limit" "$@"
    else
        "$@"
    fi
}

contains() { case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }

refused=

# try_python CANDIDATE VERSIONS: run it; sets found and found_version, or adds to `refused`.
try_python() {
    if ! try_answer=$(bounded 60 "$1" -I -c "$PROBE" </dev/null 2>/dev/null); then
        refused="$refused; $1 fails when run, or lacks venv"
        return 1
    fi
    found_version=${try_answer%% *}
    found=${try_answer#* }
    contains "$2" "$found_version" && return 0
    refused="$refused; $1 is $found_version"
    return 1
}

# search_python VERSIONS: the first that runs, from PATH, pyenv and uv, the newest wanted first.
search_python() {
    refused=
    for search_version in $1; do
        if command -v "python$search_version" >/dev/null 2>&1; then
            try_python "python$search_version" "$search_version" && return 0
        fi
        for search_file in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$search_version".*/bin/python; do
            [ -x "$search_file" ] && try_python "$search_file" "$search_version" && return 0
        done
        command -v uv >/dev/null 2>&1 || continue
        if search_file=$(bounded 60 uv python find "$search_version" 2>/dev/null </dev/null); then
            try_python "$search_file" "$search_version" && return 0
        fi
    done
    for search_name in python3 python; do
        command -v "$search_name" >/dev/null 2>&1 || continue
        try_python "$search_name" "$1" && return 0
    done
    command -v uv >/dev/null 2>&1 || return 1
    search_version=${1%% *}
    say "asking uv for Python $search_version"
    bounded 600 uv python install "$search_version" >&2 </dev/null || return 1
    search_file=$(bounded 60 uv python find "$search_version" </dev/null) || return 1
    try_python "$search_file" "$search_version"
}

# need_python VERSIONS: like search_python, but $PYTHON decides where it is set, and none is an error.
need_python() {
    need_list=$(printf '%s' "$1" | sed 's/ /, /g')
    if [ -n "${PYTHON:-}" ]; then
        try_python "$PYTHON" "$1" && return 0
        die 2 "PYTHON=$PYTHON does not do (${refused#; }): this needs CPython $need_list;" \
            "set PYTHON to one, or unset it"
    fi
    search_python "$1" && return 0
    die 3 "found no CPython $need_list (${refused#; }${refused:+; }nothing else in PATH, pyenv or uv):" \
        "install one, or set PYTHON=/path/to/python${1%% *}"
}

# wish FILE...: what the stamp of an environment holds when the FILEs are installed.
wish() {
    printf 'python %s\n' "$have_version"
    cat -- "$@"
}

# ready: does the environment stand as wanted? Sets have_version ('' where there is none).
ready() {
    have_version=$("$folder/bin/python" -I -S -c \
        'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || have_version=
    contains "$wanted" "${have_version:-none}" || return 1
    [ -f "$stamp" ] && [ "$(cat -- "$stamp")" = "$(wish "$@")" ]
}

# install FILE...: all in one pip, but for the files named *-code.txt, which come without what
# they declare.
install() {
    install_arguments=
    for install_file; do
        case $install_file in
            *-code.txt) continue ;;
        esac
        install_arguments="$install_arguments -r $install_file"
    done
    say "installing into $folder:$install_arguments"
    # shellcheck disable=SC2086 # file names of this repository, without blanks
    pip_install $install_arguments
    for install_file; do
        case $install_file in
            *-code.txt) pip_install --no-deps -r "$install_file" ;;
        esac
    done
}

pip_install() {
    [ -t 2 ] || set -- --quiet --quiet "$@" # errors alone
    bounded "$INSTALL_LIMIT" "$folder/bin/python" -I -m pip install \
        --timeout "${PIP_DEFAULT_TIMEOUT:-30}" --retries "${PIP_RETRIES:-3}" \
        --disable-pip-version-check --no-input "$@" >&2 </dev/null ||
        die 3 "pip could not install into $folder (its words are above); once the cause is gone," \
            "run the same command again"
}

# engine_works: an import, since it needs system libraries that pip cannot bring.
engine_works() {
    engine_error=$("$folder/bin/python" -I -c 'import megengine' 2>&1) && return 0
    die 3 "MegEngine does not import: $(printf '%s\n' "$engine_error" | tail -n 1)" \
        "(for libGL or libgthread on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0)"
}

# environment FOLDER VERSIONS NAME FILE...: FOLDER is a virtual environment with the FILEs installed.
# The stamp NAME is written last, so that an interrupted set-up is taken up again.
environment() {
    folder=$1 wanted=$2 stamp=$1/.installed-$3
    shift 3
    found=
    if [ "$folder" = .venv ] && [ -n "${PYTHON:-}" ]; then
        need_python "$wanted"
        wanted=$found_version
    fi
    ready "$@" && return 0
    [ -n "$found" ] || need_python "$wanted"
    exec 9>>"$folder.lock"
    "$found" -I -c "$LOCK" "$LOCK_LIMIT" || exit
    if ! ready "$@"; then
        set_up "$@"
    fi
    exec 9>&-
}

set_up() {
    if ! contains "$wanted" "${have_version:-none}" ||
        ! "$folder/bin/python" -I -m pip --version >/dev/null 2>&1; then
        say "making $folder with Python $found_version"
        "$found" -I -m venv --clear "$folder" ||
            die 3 "$found could not make $folder (its words are above)"
        have_version=$found_version
    fi
    rm -f -- "$stamp"
    install "$@"
    if contains "$*" requirements.txt; then
        engine_works
    fi
    wish "$@" >"$stamp.new"
    mv -f -- "$stamp.new" "$stamp"
}

# run_python ARGUMENT...: the project's Python, where the caller stands, finding the package.
run_python() {
    cd -- "$caller" 2>/dev/null || say "running in $root, since your folder is gone"
    PYTHONPATH=$root
    export PYTHONPATH
    exec "$root/.venv/bin/python" "$@"
}

# slow_environments: what the slow tests need beside .venv. A missing reference is an error in CI.
slow_environments() {
    smoke_pythons=
    for other in 3.9 3.8; do
        if search_python "$other"; then
            (PYTHON='' && environment ".venv-$other" "$other" base requirements.txt)
            smoke_pythons="$smoke_pythons .venv-$other/bin/python"
        else
            say "no Python $other here: its smoke test is left out"
        fi
    done
    export SMOKE_PYTHONS="$smoke_pythons"
    [ -z "${TAMING_REFERENCE_PYTHON:-}" ] || return 0
    if search_python 3.11; then
        (PYTHON='' && environment .venv-ref 3.11 reference \
            requirements-reference.txt requirements-reference-code.txt)
    elif [ "${CI:-}" = true ]; then
        die 3 "no Python 3.11 here (${refused#; }): the comparison with the original needs it"
    else
        say "no Python 3.11 here: the live comparison with the original is left out"
    fi
}

run_tests() {
    environment .venv 3.10 base requirements.txt
    environment .venv 3.10 dev requirements.txt requirements-dev.txt \
        requirements-evaluate.txt requirements-docs.txt requirements-demo.txt
    if contains "$*" --all; then
        slow_environments
    fi
    exec sh .ci/check.sh "$@"
}

# run_tool COMMAND ARGUMENT...: tools/COMMAND.py, asked for before any set-up.
run_tool() {
    extra=
    case $1 in
        *[!A-Za-z0-9_-]*) tool= ;;
        web) tool=tools/web_demo.py extra=demo ;;
        evaluate | docs) tool=tools/$1.py extra=$1 ;;
        figures) tool=tools/figures.py extra=evaluate ;; # they share matplotlib
        *) tool=tools/$(printf '%s' "$1" | tr - _).py ;;
    esac
    [ -f "$tool" ] || die 2 "no command '$1': sh tools/run.sh help lists them"
    environment .venv "$SUPPORTED" base requirements.txt
    if [ -n "$extra" ] && [ -f "requirements-$extra.txt" ]; then
        environment .venv "$SUPPORTED" "$extra" requirements.txt "requirements-$extra.txt"
    fi
    shift
    run_python "$root/$tool" "$@"
}

caller=$(pwd)
cd -- "$(dirname -- "$0")/.."
root=$(pwd -P)
[ -f requirements.txt ] || die 2 "$root is not the project: call tools/run.sh in its own place"

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
    help | -h | --help) usage ;;
    setup) environment .venv "$SUPPORTED" base requirements.txt ;;
    test) run_tests "$@" ;;
    python)
        environment .venv "$SUPPORTED" base requirements.txt
        run_python "$@"
        ;;
    *) run_tool "$command" "$@" ;;
esac

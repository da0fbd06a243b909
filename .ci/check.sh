#!/bin/sh
# Lint, spelling, types and tests, in the environments that tools/run.sh has set up: call
# `sh tools/run.sh test`. All of them run, even when one fails; pytest is last and gets "$@".
set -u
cd -- "$(dirname -- "$0")/.." || exit 2
python=.venv/bin/python
failed=

step() {
    step_name=$1
    shift
    printf '\n== %s\n' "$step_name"
    "$@" || failed="$failed, $step_name"
}

step 'ruff check' "$python" -m ruff check .
step 'ruff format' "$python" -m ruff format --check .
step 'codespell' "$python" -m codespell_lib
step 'mypy' "$python" -m mypy
if [ -x .venv/bin/shellcheck ]; then # Linux alone has them as wheels
    step 'shellcheck' .venv/bin/shellcheck tools/run.sh .ci/check.sh .ci/run
    step 'hadolint' .venv/bin/hadolint Dockerfile
fi
for other in ${SMOKE_PYTHONS:-}; do
    step "smoke test with $other" "$other" .ci/smoke.py
done
step 'pytest' "$python" -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"

[ -z "$failed" ] && exit 0
printf '\nfailed: %s\n' "${failed#, }" >&2
exit 1

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.launcher import ROOT, Checkout, make_checkout, make_real, write_program


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_tool_gets_its_arguments_unchanged_where_the_caller_stands(checkout, tmp_path):
    checkout.python("3.10")
    done = checkout.run_in(tmp_path, "echo-back", "a b", "", "*", "'\"", "--all")
    said = json.loads(done.stdout)
    assert said["arguments"] == ["a b", "", "*", "'\"", "--all"]
    assert said["folder"] == str(tmp_path)
    assert str(checkout.root) in said["path"]
    assert done.returncode == 0


def test_the_status_of_the_tool_is_passed_on(checkout):
    checkout.python("3.10")
    assert checkout.run("echo_back", "fail").returncode == 7


def test_without_a_command_it_lists_the_tools_and_sets_up_nothing(checkout):
    done = checkout.run()
    assert done.returncode == 0
    assert "echo_back" in done.stdout
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("name", ["nothing", "../run", "a b", "echo_back.py"])
def test_an_unknown_command_is_refused_before_any_set_up(checkout, name):
    checkout.python("3.10")
    done = checkout.run(name)
    assert done.returncode == 2
    assert "help" in one_line(done.stderr)
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("version", ["3.11", "3.7", "2.7"])
def test_a_python_variable_of_the_wrong_version_is_an_error(checkout, version):
    checkout.python("3.10")
    wrong = checkout.python(version)
    done = checkout.run("setup", PYTHON=str(wrong))
    line = one_line(done.stderr)
    assert done.returncode == 2
    assert f"is {version}" in line
    assert "3.10, 3.9, 3.8" in line
    assert not checkout.stamps()


def test_a_python_variable_that_names_nothing_is_an_error(checkout):
    checkout.python("3.10")
    done = checkout.run("setup", PYTHON="/no/such/python")
    assert done.returncode == 2
    assert "/no/such/python" in one_line(done.stderr)


def test_a_wrong_python_variable_is_an_error_even_when_all_is_set_up(checkout):
    checkout.python("3.10")
    assert checkout.run("setup").returncode == 0
    assert checkout.run("echo-back", PYTHON=str(checkout.python("3.12"))).returncode == 2


def test_the_python_variable_wins_over_what_is_installed(checkout):
    checkout.python("3.10")
    assert checkout.run("setup").returncode == 0
    assert checkout.run("setup", PYTHON=str(checkout.python("3.8"))).returncode == 0
    assert "python 3.8" in (checkout.root / ".venv" / ".installed-base").read_text()


def test_no_python_at_all_is_one_line_with_the_cure(checkout):
    checkout.python("3.13")
    (checkout.bin / "python3.13").rename(checkout.bin / "python3")
    done = checkout.run("setup")
    line = one_line(done.stderr)
    assert done.returncode == 3
    assert "python3 is 3.13" in line
    assert "PYTHON=" in line


def test_the_newest_supported_python_is_taken(checkout):
    for version in ("3.8", "3.9", "3.10", "3.11"):
        checkout.python(version)
    assert checkout.run("setup").returncode == 0
    assert "python 3.10" in (checkout.root / ".venv" / ".installed-base").read_text()


def test_an_unsupported_python3_does_not_hide_an_older_one(checkout):
    checkout.python("3.8")
    checkout.python("3.12", checkout.bin / "python3")
    assert checkout.run("setup").returncode == 0


def test_a_python_that_fails_when_run_is_passed_over_for_pyenvs(checkout):
    write_program(checkout.bin / "python3.10", "#!/bin/sh\necho not found >&2\nexit 127\n")
    checkout.python("3.10", checkout.home / ".pyenv/versions/3.10.13/bin/python")
    done = checkout.run("setup")
    assert done.returncode == 0, done.stderr


def test_uv_is_asked_when_nothing_else_is_there(checkout, tmp_path):
    hidden = checkout.python("3.9", tmp_path / "store" / "python3.9")
    answer = f'#!/bin/sh\n[ "$*" = "python find 3.9" ] && echo "{hidden}"\n'
    write_program(checkout.bin / "uv", answer)
    assert checkout.run("setup").returncode == 0


def test_uv_may_fetch_a_python(checkout, tmp_path):
    hidden = checkout.python("3.10", tmp_path / "store" / "python3.10")
    fetched = tmp_path / "fetched"
    write_program(
        checkout.bin / "uv",
        f"""#!/bin/sh
case "$*" in
    'python install 3.10') : >"{fetched}" ;;
    'python find 3.10') [ -f "{fetched}" ] && echo "{hidden}" ;;
    *) exit 1 ;;
esac
""",
    )
    assert checkout.run("setup").returncode == 0
    assert fetched.exists()


def test_the_second_run_installs_nothing(checkout):
    checkout.python("3.10")
    for _ in range(3):
        assert checkout.run("echo-back").returncode == 0
    assert len(checkout.installs()) == 1


def test_changed_requirements_are_installed(checkout):
    checkout.python("3.10")
    assert checkout.run("setup").returncode == 0
    (checkout.root / "requirements.txt").write_text("something==2\n")
    assert checkout.run("setup").returncode == 0
    assert len(checkout.installs()) == 2


def test_pip_is_bounded(checkout):
    checkout.python("3.10")
    assert checkout.run("setup").returncode == 0
    (line,) = checkout.installs()
    assert "--timeout 30" in line
    assert "--retries 3" in line
    assert "--no-input" in line


def test_a_failed_install_leaves_no_stamp_and_is_taken_up_again(checkout):
    checkout.python("3.10")
    done = checkout.run("echo-back", FAKE_PIP_STATUS="1")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "run the same command again" in done.stderr
    assert not checkout.stamps()
    assert checkout.run("echo-back").returncode == 0


def test_a_killed_set_up_leaves_no_stamp_and_is_taken_up_again(checkout):
    checkout.python("3.10")
    process = checkout.start("setup", FAKE_PIP_SECONDS="60")
    wait_for(checkout.installs)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not checkout.stamps()
    assert checkout.run("setup").returncode == 0
    assert checkout.stamps() == [".installed-base"]
    assert len(checkout.installs()) == 2


def test_an_engine_that_does_not_import_is_named_with_the_cure(checkout):
    checkout.python("3.10")
    error = "ImportError: libGL.so.1: cannot open shared object file"
    done = checkout.run("setup", FAKE_IMPORT_ERROR=error)
    assert done.returncode == 3
    assert error in done.stderr
    assert "apt-get install libgl1" in done.stderr
    assert not checkout.stamps()


def test_two_at_once_install_once(checkout):
    checkout.python("3.10")
    first = checkout.start("echo-back", FAKE_PIP_SECONDS="1")
    wait_for(checkout.installs)
    second = checkout.start("echo-back")
    first_out, _ = first.communicate(timeout=60)
    second_out, second_err = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(first_out)["arguments"] == json.loads(second_out)["arguments"] == []
    assert "waiting for another set-up" in second_err
    assert len(checkout.installs()) == 1


def test_a_lock_file_left_behind_stops_nobody(checkout):
    checkout.python("3.10")
    (checkout.root / ".venv.lock").write_text("99999\n")
    assert checkout.run("setup").returncode == 0


def test_a_running_tool_does_not_hold_the_lock(checkout):
    checkout.python("3.10")
    (checkout.root / "tools" / "wait.py").write_text("import time\ntime.sleep(60)\n")
    tool = checkout.start("wait")
    wait_for(checkout.stamps)
    try:
        (checkout.root / "requirements.txt").write_text("something==2\n")
        done = checkout.run("setup")
        assert done.returncode == 0
        assert "waiting" not in done.stderr
    finally:
        os.killpg(tool.pid, signal.SIGKILL)
        tool.communicate()


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    checkout.python("3.10")
    assert checkout.run("setup").returncode == 0
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python3.10")
    assert checkout.run("echo-back").returncode == 0


def test_the_tests_ask_for_python_3_10(checkout):
    checkout.python("3.9")
    assert checkout.run("setup").returncode == 0
    done = checkout.run("test")
    assert done.returncode == 3
    checkout.python("3.10")
    done = checkout.run("test", "-k", "two words")
    assert done.returncode == 0
    assert "checks: -k two words" in done.stdout
    assert checkout.stamps() == [".installed-base", ".installed-dev"]


def test_all_tests_need_the_original_in_ci(checkout):
    checkout.python("3.10")
    done = checkout.run("test", "--all", CI="true")
    assert done.returncode == 3
    assert "3.11" in done.stderr
    assert "checks:" not in done.stdout


def test_all_tests_without_the_original_say_what_is_left_out(checkout):
    checkout.python("3.10")
    done = checkout.run("test", "--all")
    assert done.returncode == 0
    for left_out in ("Python 3.11", "Python 3.9", "Python 3.8"):
        assert f"no {left_out} here" in done.stderr
    assert "checks: --all" in done.stdout


def test_all_tests_set_up_every_python_that_is_there(checkout):
    for version in ("3.8", "3.9", "3.10", "3.11"):
        checkout.python(version)
    done = checkout.run("test", "--all", CI="true")
    assert done.returncode == 0, done.stderr
    assert "smoke: .venv-3.9/bin/python .venv-3.8/bin/python" in done.stdout
    assert (checkout.root / ".venv-ref" / ".installed-reference").exists()
    (code,) = [line for line in checkout.installs() if "reference-code" in line]
    assert "--no-deps" in code


def test_a_named_reference_environment_is_used_as_it_is(checkout):
    checkout.python("3.10")
    done = checkout.run("test", "--all", CI="true", TAMING_REFERENCE_PYTHON="/some/python")
    assert done.returncode == 0
    assert not (checkout.root / ".venv-ref").exists()


def test_the_python_variable_does_not_choose_the_other_environments(checkout):
    named = checkout.python("3.10")
    for version in ("3.9", "3.11"):
        checkout.python(version)
    done = checkout.run("test", "--all", PYTHON=str(named))
    assert done.returncode == 0, done.stderr
    assert "python 3.9" in (checkout.root / ".venv-3.9" / ".installed-base").read_text()


def test_inherited_python_variables_are_ignored_and_a_move_is_survived(checkout, tmp_path):
    make_real(checkout)
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "json.py").write_text("raise ImportError('poisoned')\n")
    poison = {"PYTHONPATH": str(tmp_path / "poison"), "PYTHONHOME": "/no/such", "PIP_USER": "1"}
    done = checkout.run("echo-back", **poison)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["PYTHONPATH"] == str(checkout.root)

    moved = checkout.moved_to(tmp_path / "elsewhere")
    done = moved.run("python", "-c", "import megengine; print(megengine.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "elsewhere" / ".venv"))
    assert done.stderr == ""
    (moved.root / "requirements.txt").open("a").write("# changed\n")
    assert moved.run("setup").returncode == 0
    assert not checkout.root.exists()


@pytest.mark.parametrize("libraries", ["", "libGL.so.1 libgthread-2.0.so.0"])
def test_ci_installs_what_the_system_lacks_and_runs_every_test(checkout, libraries):
    bash = shutil.which("bash")
    assert bash
    shutil.copy(ROOT / ".ci" / "run", checkout.root / ".ci" / "run")
    (checkout.root / "tools" / "run.sh").write_text('echo "launched: $*"\n')
    answers = {
        "id": "echo 0",
        "git": "",
        "ldconfig": f"echo '{libraries}'",
        "apt-get": f'echo "$*" >>"{checkout.log}"',
    }
    for name, text in answers.items():
        write_program(checkout.bin / name, f"#!/bin/sh\n{text}\n")
    done = subprocess.run(
        [bash, str(checkout.root / ".ci" / "run")],
        env=checkout.environment(CI="true"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "launched: test --all\n"), done.stderr
    installed = checkout.log.read_text() if checkout.log.exists() else ""
    assert ("libgl1 libglib2.0-0" in installed) == (not libraries)


@pytest.mark.parametrize(("command", "extra"), [("evaluate", "evaluate"), ("web", "demo")])
def test_tools_that_need_more_get_their_own_requirements(checkout, command, extra):
    checkout.python("3.10")
    tool = {"web": "web_demo"}.get(command, command)
    shutil.copy(checkout.root / "tools" / "echo_back.py", checkout.root / "tools" / f"{tool}.py")
    assert checkout.run("echo-back").returncode == 0
    assert checkout.stamps() == [".installed-base"]
    for _ in range(2):
        assert checkout.run(command, "fail").returncode == 7
    assert checkout.stamps() == [".installed-base", f".installed-{extra}"]
    (line,) = [line for line in checkout.installs() if f"requirements-{extra}.txt" in line]
    assert "-r requirements.txt" in line

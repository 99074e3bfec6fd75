"""What a run in the sandbox can do, what it cannot, what is seen of it: with namespaces, and with the hook alone."""

import json
import os
import sys
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.dry_run import sandbox as module
from kaggle_dataset.dry_run.environment import make_environment
from kaggle_dataset.dry_run.sandbox import Sandbox, find_means
from tests.kaggle_dataset.dry_run.marks import mark_looks
from tests.waiting import LIMIT, wait_until

# Does all that a kernel might do and says how it went; nothing here ends it.
SCRIPT = """
import json, os, socket, subprocess, sys, tempfile, urllib.request
from pathlib import Path

said, source = {}, Path(sys.argv[1])

def attempt(name, do):
    try:
        said[name] = str(do())
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"

def pair():
    one, other = socket.socketpair()
    one.sendall(b"heard")
    return other.recv(5).decode()

def unix():
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("server")
        server.listen()
        client.connect("server")
        return "connected"

attempt("overwrite", lambda: (source / "there").write_text("x"))
attempt("add", lambda: (source / "new").write_text("x"))
attempt("url", lambda: urllib.request.urlopen("http://example.com"))  # line 27
attempt("address", lambda: socket.create_connection(("192.0.2.1", 81), timeout=5))
attempt("pair", pair)
attempt("unix", unix)
CHILD = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.2', 82))"
attempt("child", lambda: subprocess.run([sys.executable, "-I", "-c", CHILD], stderr=subprocess.DEVNULL).returncode)
attempt("native", lambda: subprocess.run(["bash", "-c", "echo > /dev/tcp/192.0.2.3/83"]).returncode)
attempt("listed", lambda: __import__("packaging").__name__)
attempt("unlisted", lambda: __import__("numpy").__name__)
LARGE = "x = b'x' * 150_000_000; import os, time\\nwhile not os.path.exists('looked'): time.sleep(0.02)"
attempt("memory", lambda: subprocess.run([sys.executable, "-c", LARGE]))
attempt("disk", lambda: (Path(tempfile.gettempdir()) / "big").write_bytes(b"x" * 20_000_000))
SLEEPS = "import os, signal; open('orphan', 'w').write(os.readlink('/proc/self')); signal.pause()"
subprocess.Popen([sys.executable, "-c", SLEEPS], start_new_session=True, stdout=subprocess.DEVNULL)
said |= {"folder": os.getcwd(), "environment": dict(os.environ), "temporary": os.listdir(tempfile.gettempdir())}
Path("said.json").write_text(json.dumps(said))
print("to stdout")
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture(scope="module", params=["namespaces", "hook"])
def ran(request, tmp_path_factory):
    """One run: the sandbox, how it ended, and what the script said."""
    try:
        means = find_means(request.param)
    except DfdcError as error:
        pytest.skip(str(error))
    sandbox = Sandbox(tmp_path_factory.mktemp("session") / "s", means)
    fresh = make_environment(sandbox.host / "environment", ["packaging"], sandbox.connections)
    (sandbox.input / "there").write_text("as it was")
    (sandbox.source / "script.py").write_text(SCRIPT)
    command = [str(fresh.python), str(sandbox.inside(sandbox.source / "script.py")), str(sandbox.inside(sandbox.input))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(module.__file__).parent.parent))
        mark_looks(patch, 150e6)
        ended = sandbox.run(command, {"DFDC_ARGUMENTS": "of ours"}, LIMIT, fresh.reads)
    return sandbox, ended, json.loads((sandbox.working / "said.json").read_text())


def test_it_ends_as_the_script_does(ran):
    sandbox, ended, _ = ran
    assert ended.code == 7
    assert sandbox.out.read_text() == "to stdout\n"
    assert sandbox.err.read_text().splitlines()[-1] == "to stderr"


def test_the_input_is_not_written_or_it_is_told(ran):
    sandbox, ended, said = ran
    if sandbox.means.namespaces:
        assert "Read-only file system" in said["overwrite"]
        assert "Read-only file system" in said["add"]
    if os.geteuid() and not sandbox.means.namespaces:
        assert "Permission denied" in said["overwrite"]
    written = [name for name, key in (("new", "add"), ("there", "overwrite")) if "Error" not in said[key]]
    assert list(ended.changed) == written


def test_connections_are_named_though_the_script_swallows_them(ran):
    sandbox, ended, said = ran
    places = {f"{attempt.host}:{attempt.port}": attempt.callers for attempt in ended.attempts}
    script = str(sandbox.inside(sandbox.source / "script.py"))
    assert places["example.com:80"] == (f"{script}:27",)
    assert places["192.0.2.1:81"][0].startswith(script)
    assert "Temporary failure in name resolution" in said["url"]


def test_connections_of_a_child_are_named(ran):
    _, ended, said = ran
    assert said["child"] == "1"
    assert ("192.0.2.2", "82") in {(attempt.host, attempt.port) for attempt in ended.attempts}


def test_connections_of_other_code_are_named_where_strace_is(ran):
    sandbox, ended, _ = ran
    if not sandbox.means.tracer:
        pytest.skip("needs strace")
    assert [a.callers[0][:27] for a in ended.attempts if a.host == "192.0.2.3"] == ["code that is not Python, pr"]


def test_sockets_within_the_machine_work_and_are_no_attempts(ran):
    _, ended, said = ran
    assert (said["pair"], said["unix"]) == ("heard", "connected")
    assert len({attempt.host for attempt in ended.attempts}) <= 4


def test_the_environment_has_what_is_listed(ran):
    sandbox, _, said = ran
    assert said["listed"] == "packaging"
    assert said["unlisted"] == "ModuleNotFoundError: No module named 'numpy'"
    assert said["environment"].keys() <= {"HOME", "PATH", "LANG", "LC_CTYPE", "TMPDIR", "PWD", "DFDC_ARGUMENTS"}
    assert said["environment"]["HOME"] == str(sandbox.home)
    assert said["folder"] == str(sandbox.inside(sandbox.working))
    assert not sandbox.means.namespaces or said["folder"] == "/kaggle/working"


def test_peaks_are_seen(ran):
    _, ended, _ = ran
    assert 150e6 < ended.memory < 600e6 or not Path("/proc").exists()
    assert 20e6 <= ended.disk < 30e6


def test_nothing_runs_on(ran):
    sandbox, _, _ = ran
    processes = Path("/proc").glob
    wait_until(lambda: not any(_has(p, str(sandbox.home)) for p in processes("[0-9]*")), "all its processes are gone")
    assert str(sandbox.folder) not in Path("/proc/self/mounts").read_text()


def _has(process, home):
    """Whether a process, not a dead one, has this home."""
    try:
        return f"HOME={home}".encode() in (process / "environ").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("isolation", ["auto", "hook"])
def test_what_is_late_is_ended(tmp_path, isolation):
    sandbox = Sandbox(tmp_path / "s", find_means(isolation))
    ended = sandbox.run([sys.executable, "-c", "import signal; signal.pause()"], {}, 1.0, [Path(sys.prefix)])
    assert ended.code is None


def test_without_namespaces_it_says_so(monkeypatch):
    monkeypatch.setattr(module, "_namespaces_work", lambda: False)
    assert not find_means("auto").namespaces
    assert "a plain folder" in str(find_means("auto"))
    with pytest.raises(DfdcError, match="isolation 'hook' needs none"):
        find_means("namespaces")
    with pytest.raises(ValueError, match="'none' is none of"):
        find_means("none")

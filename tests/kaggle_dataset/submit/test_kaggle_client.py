"""The client as a subprocess: the real one against the stand-in, and small scripts where it must misbehave."""

import sys
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout, NotSignedIn
from tests.waiting import LIMIT, StoppedClock, wait_until

STATUS = ("datasets", "status", "alice/some-dataset", "--format", "json")


def script(tmp_path: Path, body: str) -> Path:
    """A client that does something else."""
    path = tmp_path / "kaggle"
    path.write_text(f"#!{sys.executable}\nimport os, signal, subprocess, sys, time\n{body}")
    path.chmod(0o755)
    return path


def test_the_real_client_answers(fake_kaggle):
    answer = fake_kaggle.kaggle(*STATUS, timeout=LIMIT)
    assert answer == Answer(1, "", "Dataset not found\n")
    assert len(fake_kaggle.asked("GetDatasetStatus")) == 1


def test_only_allowed_variables_reach_it(tmp_path, fake_kaggle):
    given = {
        **fake_kaggle.environment,
        "VERBOSE": "1",
        "VERBOSE_OUTPUT": "true",
        "KAGGLE_COMPETITION": "x",
        "PYTHONPATH": "/x",
    }
    shown = script(tmp_path, "for n in sorted(os.environ): print(n)")
    names = Kaggle(tmp_path, shown, given)("x", timeout=LIMIT, scope="abc").out.split()
    assert set(names) - {"LC_CTYPE"} == {*fake_kaggle.environment, "TMPDIR", "PYTHONUNBUFFERED"}
    # The real one, told to be verbose, would print the token.
    answer = Kaggle(tmp_path, environment=given)(*STATUS, timeout=LIMIT)
    assert "Request" not in answer.out + answer.err


@pytest.mark.parametrize("where", ["variable", "file named by the variable", "access_token", "kaggle.json"])
def test_the_token_is_nowhere(tmp_path, where):
    secret, home = "KGAT_0123456789abcdef", tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    environment = {"HOME": str(home), "PATH": ""}
    if where == "variable":
        environment["KAGGLE_API_TOKEN"] = secret
    elif where == "kaggle.json":
        (home / ".kaggle" / where).write_text(f'{{"username": "alice-in-chains", "key": "{secret}"}}')
    else:
        (home / ".kaggle" / "access_token").write_text(secret + "\n")
    if where.startswith("file"):
        environment["KAGGLE_API_TOKEN"] = str(home / ".kaggle" / "access_token")
    body = f"print('token={secret}!', 'alice-in-chains', flush=True)\nprint('Bearer {secret[::-1]}', file=sys.stderr)\n"
    kaggle = Kaggle(tmp_path, script(tmp_path, body + "if 'wait' in sys.argv: signal.pause()"), environment)
    seen = []
    answer = kaggle("x", timeout=LIMIT, stop=seen.append)
    assert answer.out == "token=***! alice-in-chains\n"
    assert answer.err == "Bearer ***\n"
    assert sorted(seen) == ["Bearer ***", "token=***! alice-in-chains"]
    with pytest.raises(KaggleTimeout) as caught:
        kaggle("wait", secret, timeout=LIMIT, idle=1.5)
    assert secret not in str(caught.value) + repr(caught.value.answer)


def test_a_refused_token_is_said_without_it(fake_kaggle):
    wrong = {**fake_kaggle.environment, "KAGGLE_API_TOKEN": "KGAT_not-the-right-one"}
    with pytest.raises(NotSignedIn, match="does not accept the credentials") as caught:
        Kaggle(fake_kaggle.kaggle.state, environment=wrong)(*STATUS, timeout=LIMIT)
    assert "not-the-right-one" not in str(caught.value)


def test_no_client_says_what_to_install(tmp_path, monkeypatch):
    broken = script(tmp_path, "import nosuchmodule")
    with pytest.raises(DfdcError, match=r"not complete: .*nosuchmodule.*pip install"):
        Kaggle(tmp_path, broken, {})("x", timeout=LIMIT)
    with pytest.raises(DfdcError, match=r"cannot be run.*pip install"):
        Kaggle(tmp_path, tmp_path / "gone", {})("x", timeout=LIMIT)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    broken.unlink()
    with pytest.raises(DfdcError, match=r"pip install kaggle==2\.2\.4 kagglesdk==0\.1\.37 six"):
        Kaggle(tmp_path, environment={"PATH": str(tmp_path)})


@pytest.mark.parametrize("limit", [{"timeout": 1.5}, {"timeout": LIMIT, "idle": 1.5}])
def test_the_whole_group_is_killed(tmp_path, monkeypatch, limit):
    child = tmp_path / "child"
    begins = f"import os, signal; open({str(child)!r} + '.new', 'w').write(str(os.getpid()))"
    begins += f"; os.rename({str(child)!r} + '.new', {str(child)!r}); signal.pause()"
    body = f"print('began', flush=True)\nsubprocess.run([sys.executable, '-c', {begins!r}])"
    monkeypatch.setattr("kaggle_dataset.submit.kaggle_client.time", StoppedClock(child.exists))
    with pytest.raises(KaggleTimeout, match=r"kaggle x: .* and was ended; its last words: began"):
        Kaggle(tmp_path, script(tmp_path, body), {})("x", **limit)
    wait_until(lambda: not is_alive(int(child.read_text())), "the client's child is gone")


def is_alive(pid):
    """Whether a process runs; a zombie only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stalled_server_does_not_hang_us(fake_kaggle):
    fake_kaggle.fault("GetDatasetStatus", delay=5)
    with pytest.raises(KaggleTimeout, match=r"was not done after 1\.5 s"):
        fake_kaggle.kaggle(*STATUS, timeout=1.5)


def test_lines_are_watched_while_it_works(tmp_path):
    body = "print('first', flush=True)\nsys.stderr.write('50%\\r100%\\n')\nprint('second', flush=True)\nsignal.pause()"
    seen = []

    def stop(line):
        seen.append(line)
        return line == "second"

    answer = Kaggle(tmp_path, script(tmp_path, body), {})("x", timeout=LIMIT, stop=stop)
    assert answer.code < 0
    assert [line for line in seen if "%" not in line] == ["first", "second"]


def test_a_slow_end_keeps_its_exit_code(tmp_path):
    body = "print('done', flush=True)\nos.close(1); os.close(2); time.sleep(0.5); os._exit(3)"  # at any later time
    assert Kaggle(tmp_path, script(tmp_path, body), {})("x", timeout=LIMIT).code == 3


def test_words_leave_out_progress():
    answer = Answer(1, "Starting\n", "\r 50%|##   | 1.0k/2.0k [00:01<00:01, 9B/s]\r0.00B [00:00, ?B/s]\nwent wrong\n")
    assert answer.words == "Starting; went wrong"


def test_json_follows_notices():
    assert Answer(0, "Warning: something\nNext Page Token = 2\n[\n 1]\n", "").json() == [1]
    with pytest.raises(DfdcError, match="printed no JSON: No files found"):
        Answer(0, "No files found", "").json()

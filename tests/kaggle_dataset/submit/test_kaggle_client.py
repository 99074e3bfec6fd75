"""The client as a subprocess: the real one against the stand-in, and small scripts where it must misbehave."""

import sys
import time
from pathlib import Path

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.kaggle_client import Answer, Kaggle, KaggleTimeout, NotSignedIn

STATUS = ("datasets", "status", "alice/some-dataset", "--format", "json")


def script(tmp_path: Path, body: str) -> Path:
    """A client that does something else."""
    path = tmp_path / "kaggle"
    path.write_text(f"#!{sys.executable}\nimport os, subprocess, sys, time\n{body}")
    path.chmod(0o755)
    return path


def test_the_real_client_answers(fake_kaggle):
    answer = fake_kaggle.kaggle(*STATUS, timeout=30)
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
    names = Kaggle(tmp_path, shown, given)("x", timeout=20, scope="abc").out.split()
    assert set(names) - {"LC_CTYPE"} == {*fake_kaggle.environment, "TMPDIR", "PYTHONUNBUFFERED"}
    # The real one, told to be verbose, would print the token.
    answer = Kaggle(tmp_path, environment=given)(*STATUS, timeout=30)
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
    kaggle = Kaggle(tmp_path, script(tmp_path, body + "if 'wait' in sys.argv: time.sleep(60)"), environment)
    seen = []
    answer = kaggle("x", timeout=20, stop=seen.append)
    assert answer.out == "token=***! alice-in-chains\n"
    assert answer.err == "Bearer ***\n"
    assert sorted(seen) == ["Bearer ***", "token=***! alice-in-chains"]
    with pytest.raises(KaggleTimeout) as caught:
        kaggle("wait", secret, timeout=20, idle=1.5)
    assert secret not in str(caught.value) + repr(caught.value.answer)


def test_a_refused_token_is_said_without_it(fake_kaggle):
    wrong = {**fake_kaggle.environment, "KAGGLE_API_TOKEN": "KGAT_not-the-right-one"}
    with pytest.raises(NotSignedIn, match="does not accept the credentials") as caught:
        Kaggle(fake_kaggle.kaggle.state, environment=wrong)(*STATUS, timeout=30)
    assert "not-the-right-one" not in str(caught.value)


def test_no_client_says_what_to_install(tmp_path, monkeypatch):
    broken = script(tmp_path, "import nosuchmodule")
    with pytest.raises(DfdcError, match=r"not complete: .*nosuchmodule.*pip install"):
        Kaggle(tmp_path, broken, {})("x", timeout=20)
    with pytest.raises(DfdcError, match=r"cannot be run.*pip install"):
        Kaggle(tmp_path, tmp_path / "gone", {})("x", timeout=20)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    broken.unlink()
    with pytest.raises(DfdcError, match=r"pip install kaggle==2\.2\.4 kagglesdk==0\.1\.37 six"):
        Kaggle(tmp_path, environment={"PATH": str(tmp_path)})


@pytest.mark.parametrize("limit", [{"timeout": 1.5}, {"timeout": 60.0, "idle": 1.5}])
def test_the_whole_group_is_killed(tmp_path, limit):
    child = "import time, pathlib; time.sleep(3); pathlib.Path('{}').touch()".format(tmp_path / "alive")
    body = f"print('began', flush=True)\nsubprocess.run([sys.executable, '-c', {child!r}])"
    began = time.monotonic()
    with pytest.raises(KaggleTimeout, match=r"kaggle x: .* and was ended; its last words: began"):
        Kaggle(tmp_path, script(tmp_path, body), {})("x", **limit)
    assert time.monotonic() - began < 30
    time.sleep(max(0.0, began + 3.5 - time.monotonic()))
    assert not (tmp_path / "alive").exists()


def test_a_stalled_server_does_not_hang_us(fake_kaggle):
    fake_kaggle.fault("GetDatasetStatus", delay=5)
    with pytest.raises(KaggleTimeout, match=r"was not done after 1\.5 s"):
        fake_kaggle.kaggle(*STATUS, timeout=1.5)


def test_lines_are_watched_while_it_works(tmp_path):
    body = "print('first', flush=True)\nsys.stderr.write('50%\\r100%\\n')\nprint('second', flush=True)\ntime.sleep(60)"
    seen = []

    def stop(line):
        seen.append(line)
        return line == "second"

    answer = Kaggle(tmp_path, script(tmp_path, body), {})("x", timeout=30, stop=stop)
    assert answer.code < 0
    assert [line for line in seen if "%" not in line] == ["first", "second"]


def test_a_slow_end_keeps_its_exit_code(tmp_path):
    body = "print('done', flush=True)\nos.close(1); os.close(2); time.sleep(0.5); os._exit(3)"
    assert Kaggle(tmp_path, script(tmp_path, body), {})("x", timeout=30).code == 3


def test_words_leave_out_progress():
    answer = Answer(1, "Starting\n", "\r 50%|##   | 1.0k/2.0k [00:01<00:01, 9B/s]\r0.00B [00:00, ?B/s]\nwent wrong\n")
    assert answer.words == "Starting; went wrong"


def test_json_follows_notices():
    assert Answer(0, "Warning: something\nNext Page Token = 2\n[\n 1]\n", "").json() == [1]
    with pytest.raises(DfdcError, match="printed no JSON: No files found"):
        Answer(0, "No files found", "").json()

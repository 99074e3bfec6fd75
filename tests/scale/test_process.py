"""What runs in the processes of an engine: a crash ends them at once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CRASH = """
import faulthandler, os, sys
from scale.engines.process import dying_at_once
faulthandler.enable()  # stands for Ray's handler, which takes minutes
dying_at_once(lambda setup, attempt: os.kill(os.getpid(), int(sys.argv[1])))(None, None)
"""


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL])
def test_a_crash_ends_the_process_before_anybody_tells_of_it(crash):
    command = [sys.executable, "-c", CRASH, str(int(crash))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-crash, "")

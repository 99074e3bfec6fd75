"""What the children of a command do with the signals that a terminal sends to all of them."""

import signal
import subprocess
import sys
import threading

import pytest

from common.parent import children_deaf_to

ALIVE = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"


@pytest.fixture
def ctrl_c_is_heard():
    """Where tests run in the background of a shell, SIGINT is ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_a_child_is_deaf_from_its_first_instruction_on_and_the_parent_is_not():
    with pytest.raises(KeyboardInterrupt), children_deaf_to(signal.SIGINT):
        done = subprocess.run([sys.executable, "-S", "-c", ALIVE], capture_output=True, text=True, check=False)
        # To the thread that has it blocked: the process might hear it in another one, at a later time.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")
    heard = subprocess.run([sys.executable, "-S", "-c", ALIVE], capture_output=True, text=True, check=False)
    assert heard.returncode == -signal.SIGINT

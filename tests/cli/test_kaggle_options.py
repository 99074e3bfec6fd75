"""The options of a build, declared once for all commands that build."""

import inspect
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.kaggle import build, ship
from cli.kaggle_options import Competition, Output, build_options, takes_build_options


@pytest.fixture
def called():
    """Runs a command with options of its own; returns what it was given."""
    given = {}
    app = typer.Typer()

    @app.command()
    @takes_build_options
    def command(options, output: Output = Path("elsewhere"), competition: Competition = "another", twice: int = 1):
        """Do something with a build."""
        given.update(options=options, output=output, competition=competition, twice=twice)

    def call(*arguments):
        done = CliRunner().invoke(app, ["--owner", "alice", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return given

    return call


def test_a_command_gets_a_build_and_its_own_options(called):
    given = called("--slug", "other-slug", "--other", "a/b=5", "--no-openvino", "--twice", "2")
    options = given["options"]
    assert (options.owner, options.slug, options.others, options.openvino) == ("alice", "other-slug", {"a/b": 5}, False)
    assert given["twice"] == 2


def test_what_both_have_goes_to_both_with_the_default_of_the_command(called):
    given = called()
    assert (given["output"], given["options"].cache) == (Path("elsewhere"), Path("elsewhere/wheels"))
    assert given["options"].competition == given["competition"] == "another"
    given = called("-o", "there", "--competition", "third")
    assert (given["output"], given["options"].cache) == (Path("there"), Path("there/wheels"))
    assert given["options"].competition == given["competition"] == "third"


def test_a_dataset_of_another_form_is_refused(called):
    with pytest.raises(ValueError, match="'a/b' is not owner/slug=bytes"):
        called("--other", "a/b")


def test_build_and_ship_take_every_option_of_a_build():
    shared = inspect.signature(build_options).parameters.keys()
    for command in (build, ship):
        assert shared <= inspect.signature(command).parameters.keys()

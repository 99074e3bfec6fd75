"""A folder that differs from its manifest never reaches the client."""

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.upload import upload


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "member.json").write_bytes(b'{"name": "mambar"}'), "SHA-256 .* it was changed after"),
        (lambda f: (f / "member.json").write_bytes(b"{}"), "member.json has 2 bytes"),
        (lambda f: (f / "blend.json").unlink(), "blend.json is missing"),
        (lambda f: (f / ".env").write_text("KEY=1"), ".env is a dotfile"),
        (lambda f: (f / "more.json").write_text("{}"), "more.json is not in manifest.json"),
        (lambda f: (f / "more").mkdir(), "more is a folder"),
        (
            lambda f: ((f / "blend.json").rename(f.parent / "b"), (f / "blend.json").symlink_to(f.parent / "b")),
            "a link",
        ),
    ],
)
def test_a_folder_that_is_not_its_manifests_is_not_sent(fake_kaggle, dataset, change, says):
    change(dataset)
    with pytest.raises(DfdcError, match=says):
        upload(dataset, fake_kaggle.kaggle)
    assert not fake_kaggle.service.log


def test_no_dataset_and_too_long_a_path(fake_kaggle, dataset, tmp_path):
    with pytest.raises(ValueError, match="is no built dataset"):
        upload(tmp_path, fake_kaggle.kaggle)
    long = tmp_path / ("x" * 120) / ("y" * 120)
    long.parent.mkdir()
    dataset.rename(long)
    with pytest.raises(ValueError, match="bytes, the client takes 250"):
        upload(long, fake_kaggle.kaggle)

"""Which packets are needed: how frames are chosen, and what packets are to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces import packet_kinds
from faces.media import open_video
from faces.packet_kinds import PARAMETERS, RECOVERY, REFERENCE, START
from faces.packets import PacketIndex
from faces.video import choose_frames, decode
from tests.faces.streams import FAST_VP, PYRAMID, assert_same
from tests.media import all_frames, join_flv, write_video

# Choosing


@given(count=st.integers(0, 5000), wanted=st.integers(1, 400))
def test_chosen_frames_are_sorted_unique_in_range_and_spread(count: int, wanted: int) -> None:
    chosen = choose_frames(count, wanted)
    assert chosen.dtype == np.int64
    assert len(chosen) == min(count, wanted)
    if count == 0:
        return
    gaps = np.diff(np.concatenate([[-1], chosen, [count]]))
    assert chosen[0] >= 0
    assert chosen[-1] < count
    assert gaps.min() >= 1
    assert gaps.max() <= count / len(chosen) + 1
    # Neither end is favoured: what lies before the first and after the last is equal but for rounding.
    assert abs(chosen[0] - (count - 1 - chosen[-1])) <= 1


def test_the_last_frames_of_a_clip_are_spared() -> None:
    assert choose_frames(300, 32)[[0, -1]].tolist() == [4, 295]


@pytest.mark.parametrize(("count", "wanted"), [(10, 0), (10, -1), (-1, 3)])
def test_nothing_to_choose_is_an_error(count: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=f"cannot choose {wanted} of {count}"):
        choose_frames(count, wanted)


def fed_packets(monkeypatch: pytest.MonkeyPatch, path: Path, wanted: int) -> tuple[int, int]:
    """How many packets the decoder is fed, and how many there are."""
    plans = []
    needed = PacketIndex.needed

    def spy(index: PacketIndex, numbers: Any) -> Any:
        plans.append((needed(index, numbers), len(index.kinds)))
        return plans[-1][0]

    monkeypatch.setattr(PacketIndex, "needed", spy)
    decode(path, wanted)
    needs, packets = plans[-1]
    return len(needs.fed), packets


@pytest.mark.usefixtures("no_full_decode")
def test_fewer_packets_than_all_are_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", frames=200, options={**PYRAMID, "g": "100"})
    fed, packets = fed_packets(monkeypatch, path, 8)
    # With three B-frames, of which one is a reference, every second packet is referred to.
    assert packets == 200
    assert fed <= 112


@pytest.mark.usefixtures("no_full_decode")
def test_what_follows_the_last_wanted_frame_of_a_group_is_not_fed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=120, options={"bf": "0", "g": "20", "sc_threshold": "0"})
    # The middle is frame 60, the first of its group: beside it only the stream's first packet is fed.
    assert fed_packets(monkeypatch, path, 1) == (2, 120)


def h264(length_bytes: int) -> packet_kinds.H264Kinds:
    """A reader of packets as the header of an mp4 asks for it."""
    return packet_kinds.H264Kinds(bytes([1, 0, 0, 0, length_bytes - 1]) if length_bytes else b"")


@pytest.mark.parametrize(
    ("units", "kind"),
    [
        ([0x01], 0),  # a picture that nothing refers to
        ([0x06, 0x01], 0),  # the same after a comment
        ([0x21], REFERENCE),
        ([0x41], REFERENCE),
        ([0x01, 0x41], REFERENCE),  # two fields, of which one is referred to
        ([0x65], REFERENCE | START),
        ([0x67, 0x68, 0x65], REFERENCE | PARAMETERS | START),
        ([0x68, 0x01], REFERENCE | PARAMETERS),
    ],
)
@pytest.mark.parametrize("length_bytes", [1, 2, 4])
def test_units_say_what_a_packet_is_to_others(units: list[int], kind: int, length_bytes: int) -> None:
    data = b"".join((5).to_bytes(length_bytes) + bytes([unit, 0x41, 0x65, 0x67, 0x68]) for unit in units)
    assert h264(length_bytes).kind_of(memoryview(data)) == kind
    # Damaged lengths: never skipped.
    assert h264(length_bytes).kind_of(memoryview(data[:-1])) == kind | REFERENCE


LIVE = {"profile": "baseline", "g": "3", "sc_threshold": "0", "bf": "0"}


@pytest.mark.usefixtures("no_full_decode")
@pytest.mark.parametrize("size", [(96, 64), (64, 48)])
def test_parameters_that_change_beside_the_packets_are_fed(tmp_path: Path, size: tuple[int, int]) -> None:
    first = write_video(tmp_path / "1.flv", frames=40, options=LIVE)
    second = write_video(tmp_path / "2.flv", frames=40, size=size, options=LIVE | {"crf": "40"})
    path = join_flv(tmp_path / "both.flv", first, second)
    reference = all_frames(path)
    assert len(reference) == 80
    for wanted in range(1, 41):
        assert_same(decode(path, wanted), reference, wanted)


def test_the_first_packet_is_always_fed(tmp_path: Path) -> None:
    """It says which build of x264 made the stream: decoders read 4:4:4 of builds before 151 in another way."""
    path = write_video(tmp_path / "a.mp4", frames=60, pixel_format="yuv444p", options={"g": "10"})
    with open_video(path) as (container, stream):
        index = PacketIndex.read(container, stream)
    for wanted in range(1, 41):
        assert 0 in index.needed(choose_frames(index.count, wanted)).fed


def test_user_data_that_names_the_encoder_is_a_parameter() -> None:
    for text, kind in ((b"x264 - core 148", PARAMETERS), (b"made at noon", 0)):
        unit = b"\x06\x05" + bytes(16) + text
        assert h264(4).kind_of(memoryview(len(unit).to_bytes(4) + unit)) == kind


def test_the_same_units_in_a_byte_stream() -> None:
    for units, kind in (([0x01], 0), ([0x67, 0x68, 0x65], REFERENCE | PARAMETERS | START), ([0x06, 0x41], REFERENCE)):
        data = b"".join(b"\0\0\1" + bytes([unit, 0x41, 0x65]) for unit in units)
        assert h264(0).kind_of(memoryview(data)) == kind


def test_parameter_sets_that_are_repeated_change_nothing() -> None:
    reader = h264(0)
    first, other, picture = (b"\0\0\1" + bytes(unit) for unit in ([0x67, 1], [0x67, 2], [0x65, 0]))
    kinds = [reader.kind_of(memoryview(sets + picture)) for sets in (first, first, other, first)]
    assert [bool(kind & PARAMETERS) for kind in kinds] == [True, False, True, True]


@pytest.mark.parametrize(
    ("message", "promised"),
    [
        ([6, 1, 0b11000000], True),
        ([6, 1, 0b10000000], False),  # not exact
        ([6, 1, 0b01000000], False),  # exact only some frames later
        ([1, 2, 9, 9, 6, 1, 0b11000000], True),  # behind another message
        ([5, 1, 6], False),
    ],
)
def test_a_start_that_an_encoder_promises(message: list[int], promised: bool) -> None:
    unit = bytes([6, *message, 0x80])
    kind = h264(4).kind_of(memoryview(len(unit).to_bytes(4) + unit))
    assert bool(kind & RECOVERY) == promised


@pytest.mark.parametrize("name", ["hevc.mp4", "vp9.webm", "mpeg4.mp4", "h264.ts"])
def test_of_a_long_video_only_groups_with_wanted_frames_are_fed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    codec = {"hevc": "libx265", "vp9": "libvpx-vp9", "mpeg4": "mpeg4", "h264": "libx264"}[
        name.split(".", maxsplit=1)[0]
    ]
    options = FAST_VP | {"g": "10", "x265-params": "log-level=none:keyint=10:min-keyint=10", "preset": "ultrafast"}
    path = write_video(tmp_path / name, 200, (64, 48), codec, options=options)
    fed, packets = fed_packets(monkeypatch, path, 4)
    assert packets == 200
    assert fed <= 41  # four groups at most, and the first packet


def test_leading_pictures_bring_the_group_before_theirs(tmp_path: Path) -> None:
    """A frame that is shown before the key frame of its group refers to the group before."""
    params = "log-level=none:keyint=12:min-keyint=12:bframes=4:open-gop=1:scenecut=0"
    options = {"preset": "ultrafast", "x265-params": params}
    path = write_video(tmp_path / "a.mp4", 60, (64, 48), "libx265", options=options)
    with open_video(path) as (container, stream):
        index = PacketIndex.read(container, stream)
    times = index.times()
    leading = [
        position
        for position in range(len(index.kinds))
        for start in [max(p for p in range(position + 1) if p == 0 or index.kinds[p] & START)]
        if index._leads(position, start)
    ]
    assert leading
    stamp = index.stamps[leading[-1]]
    assert stamp is not None
    needs = index.needed([times.index(stamp)])
    groups = index._groups(START)
    before = max(number for number, group in enumerate(groups) if group.start < leading[-1]) - 1
    begin = groups[before].start
    assert {p for p in groups[before] if index.kinds[p] and not index._leads(p, begin)} <= needs.fed
    assert begin in needs.fresh

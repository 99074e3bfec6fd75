"""What a packet is to the packets after it, by the headers of its codec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from av import Packet

# Bits that say what a packet is to the packets after it; with none of them nothing refers to it.
REFERENCE = 1
PARAMETERS = 2  # it also carries parameter sets, which may hold for all that follows
START = 4  # decoding can start here: nothing shown after it refers to anything before it
RECOVERY = 8  # the same, as an H.264 encoder promises it for a picture that resets nothing

# Decoders ask for the build of x264 that made a stream, since old builds have faults that must be repeated. It stands
# in a unit of user data in the stream's first packet, and again where an encoder starts anew.
ENCODER = b"x264 - core"
# Other codecs whose key frames reset all that a decoder remembers of pictures. The property test of
# tests/faces/test_bit_identity.py holds each of them against a full decode. A codec that is not here is decoded whole.
RESETTING = {
    "hevc",
    "vp8",
    "vp9",
    "av1",
    "mpeg4",
    "mpeg2video",
    "mpeg1video",
    "mjpeg",
    "prores",
    "dnxhd",
    "flv1",
    "h263",
}
START_CODE = re.compile(b"\0\0\1")  # before each unit in a byte stream (ITU-T H.264, annex B)

Kind = Callable[["Packet[Any]"], int]


def kind_reader(codec: str, extra: bytes) -> tuple[Kind, Callable[[Packet[Any]], bool]]:
    """What reads the kind of a packet of this codec, and whether it is a picture that is never shown."""
    if codec == "h264":
        return H264Kinds(extra), _never
    if codec == "hevc":
        return HevcKinds(extra), _never
    keys = START if codec in RESETTING else 0

    def kind(packet: Packet[Any]) -> int:
        new = PARAMETERS if packet.has_sidedata("new_extradata") else 0
        return REFERENCE | new | (keys if packet.is_keyframe else 0)

    # The bit show_frame of a VP8 frame (RFC 6386, 9.1).
    return kind, (lambda packet: not bytes(memoryview(packet)[:1])[0] & 0x10) if codec == "vp8" else _never


def _never(packet: Packet[Any]) -> bool:
    return False


class _Units:
    """The units of H.264 or H.265 in packets; a packet is called with and gives its kind."""

    def __init__(self, extra: bytes) -> None:
        """extra: what the container knows before the first packet; it says how units are told apart."""
        self.length_bytes = self.length_of(extra)
        self.known: tuple[bytes, ...] = ()  # the parameter sets that came last

    def length_of(self, extra: bytes) -> int:
        """Bytes of the length before each unit; 0 for a byte stream with start codes."""
        raise NotImplementedError

    def kind(self, unit: memoryview) -> int:
        """The bits of one unit."""
        raise NotImplementedError

    def __call__(self, packet: Packet[Any]) -> int:
        if not packet.has_sidedata("new_extradata"):
            return self.kind_of(memoryview(packet))
        # A container may keep new parameter sets beside the packet: a second sequence header in FLV, a second sample
        # description in mp4.
        self.known = ()
        self.length_bytes = self.length_of(bytes(packet.get_sidedata("new_extradata"))) or self.length_bytes
        return self.kind_of(memoryview(packet)) | PARAMETERS

    def kind_of(self, data: memoryview) -> int:
        """The kind of a packet's data; a reference where its units cannot be read, so that the decoder says so."""
        kind, sets, end = 0, list[bytes](), 0
        for unit, behind in self._units(data):
            bits, end = self.kind(unit), behind
            kind |= bits & ~PARAMETERS
            sets += [bytes(unit)] if bits & PARAMETERS else []
        # Parameter sets that are repeated before every key frame change nothing.
        if sets and tuple(sets) != self.known:
            kind, self.known = kind | PARAMETERS, tuple(sets)
        return kind if end == len(data) else kind | REFERENCE

    def _units(self, data: memoryview) -> Iterator[tuple[memoryview, int]]:
        """Each unit, and where the next begins; what is behind the last whole unit is left."""
        if not self.length_bytes:
            ends = [match.end() for match in START_CODE.finditer(data)]
            for begin, end in zip(ends, [*(end - 3 for end in ends[1:]), len(data)], strict=True):
                yield data[begin:end], end
            return
        at = 0
        while at + self.length_bytes < len(data):
            begin = at + self.length_bytes
            at = begin + int.from_bytes(data[at:begin])
            if begin < at:
                yield data[begin:at], at


class H264Kinds(_Units):
    """Unit headers as in ITU-T H.264, 7.4.1: the mp4 demuxer does not mark disposable packets."""

    def length_of(self, extra: bytes) -> int:
        """Bytes of the length before each unit; 0 for a byte stream with start codes."""
        return (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0

    def kind(self, unit: memoryview) -> int:
        """The bits of one unit."""
        kind = REFERENCE if unit[0] & 0x60 else 0  # nal_ref_idc, never 0 for parameter sets
        match unit[0] & 31:
            case 5:
                return kind | START
            case 7 | 8:
                return kind | PARAMETERS
            case 6:
                return kind | (PARAMETERS if ENCODER in bytes(unit) else 0) | (RECOVERY if _recovers(unit) else 0)
        return kind


def _recovers(unit: memoryview) -> bool:
    """Whether a unit of supplements says that every picture shown from here on is exact (ITU-T H.264, D.2.8)."""
    at = 1
    while at + 2 < len(unit) and unit[at] < 255 and unit[at + 1] < 255:
        if unit[at] == 6:
            return unit[at + 2] & 0xC0 == 0xC0  # recovery_frame_cnt is 0, exact_match_flag is 1
        at += 2 + unit[at + 1]
    return False


class HevcKinds(_Units):
    """Unit headers as in ITU-T H.265, 7.4.2.2."""

    def __init__(self, extra: bytes) -> None:
        super().__init__(extra)
        self.levels: list[int] = []  # of each packet that its own temporal level does not refer to; -1 for the others
        self.highest = 0

    def length_of(self, extra: bytes) -> int:
        """Bytes of the length before each unit; 0 for a byte stream with start codes."""
        return (extra[21] & 3) + 1 if len(extra) > 22 and extra[0] == 1 else 0

    def __call__(self, packet: Packet[Any]) -> int:
        """The kind of a packet, whose temporal level is noted."""
        self.levels.append(-1)
        return super().__call__(packet)

    def kind(self, unit: memoryview) -> int:
        """The bits of one unit."""
        if len(unit) < 2:
            return REFERENCE
        unit_type, level = unit[0] >> 1 & 63, (unit[1] & 7) - 1
        if unit_type >= 32:
            return PARAMETERS | REFERENCE if unit_type <= 34 else 0
        self.highest = max(self.highest, level)
        if unit_type < 16 and unit_type % 2 == 0 and not (unit[0] & 1 or unit[1] >> 3):
            self.levels[-1] = level
        return REFERENCE | (START if 16 <= unit_type <= 21 else 0)

    def without_disposables(self, kinds: list[int]) -> list[int]:
        """Nothing refers to what the highest level, of those that the stream has, does not refer to itself."""
        top = [level == self.highest for level in self.levels]
        return [0 if kind == REFERENCE and at_top else kind for kind, at_top in zip(kinds, top, strict=True)]

"""What the packets of a video are to each other, read without decoding: which of them a few frames need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from av.container import InputContainer
from av.video.stream import VideoStream

from faces.media import packets_of
from faces.packet_kinds import PARAMETERS, RECOVERY, START, HevcKinds, kind_reader

# H.264 without IDR pictures: from this many packets on, starts that an encoder promises are believed. The packets of
# ten seconds, at 60 frames a second, stay below it.
MANY_PACKETS = 1000


@dataclass(frozen=True)
class Needs:
    """What a decoder is fed for some frames, and what must come out."""

    fed: frozenset[int]  # positions of packets in decoding order
    fresh: frozenset[int]  # of them, those before which the decoder gives what it holds and forgets it
    starts: frozenset[int]  # times of key frames that are relied on to be key frames
    numbers: dict[int, int]  # time of each wanted frame -> its number
    expected: frozenset[int]  # times that must come out
    allowed: frozenset[int]  # times that may come out


@dataclass(frozen=True)
class PacketIndex:
    """What a pass over the packets tells without decoding; the lists are in decoding order."""

    stamps: list[int | None]  # presentation times in ticks
    shown: list[bool]  # an edit list hides some, and VP8 has pictures that are only referred to
    kinds: list[int]
    first: int  # decoding time in ticks: where seeking finds the first packet again
    resets: bool  # a START empties the decoder by itself
    sound: bool  # references are known, frames can be told apart by their own times, the first packet stands alone

    @classmethod
    def read(cls, container: InputContainer, stream: VideoStream) -> PacketIndex:
        """Note the time and the kind of every packet of an open file; the file is read to its end."""
        name = str(stream.codec_context.codec.canonical_name)
        kind_of, hidden = kind_reader(name, stream.codec_context.extradata or b"")
        stamps: list[int | None] = []
        shown: list[bool] = []
        kinds: list[int] = []
        first = None
        for packet in packets_of(container, stream):
            first = packet.dts if first is None else first
            stamps.append(packet.pts)
            shown.append(not (packet.is_discard or hidden(packet)))
            kinds.append(kind_of(packet))
        if isinstance(kind_of, HevcKinds):
            kinds = kind_of.without_disposables(kinds)
        timed = len({s for s, is_shown in zip(stamps, shown, strict=True) if is_shown} - {None}) == sum(shown) > 0
        # AVI keeps no presentation times. Where frames are reordered (has_b_frames) and the packets' times rise all the
        # same, those are made up in decoding order: then frames are counted from start to end.
        rising = stamps == sorted(stamp for stamp in stamps if stamp is not None)
        made_up = container.format.name == "avi" and bool(stream.codec_context.has_b_frames) and rising
        sound = timed and not made_up and first is not None and bool(kinds[0] & START)
        return cls(stamps, shown, kinds, first or 0, name == "h264", sound)

    @property
    def count(self) -> int:
        """How many frames a decode from start to end should give."""
        return sum(self.shown)

    def times(self) -> list[int]:
        """The times of the frames in presentation order, in ticks."""
        pairs = zip(self.stamps, self.shown, strict=True)
        return sorted(stamp for stamp, is_shown in pairs if is_shown and stamp is not None)

    def needed(self, numbers: Iterable[int]) -> Needs:
        """Plan what to feed.

        Args:
            numbers: of the wanted frames, counted in presentation order.

        Returns:
            The fewest packets that are known to be enough.
        """
        times = self.times()
        wanted = {times[number]: number for number in numbers}
        needs = self._plan(wanted, START, self.resets)
        if len(needs.fed) > MANY_PACKETS and any(kind & RECOVERY for kind in self.kinds):
            other = self._plan(wanted, START | RECOVERY, False)
            needs = other if len(other.fed) < len(needs.fed) else needs
        return needs

    def _plan(self, wanted: dict[int, int], start: int, resets: bool) -> Needs:
        groups = self._groups(start)
        last = self._last_needed(groups, wanted, resets)
        fed: set[int] = set()
        fresh: set[int] = set()
        expected: set[int] = set()
        whole = True  # whether all that may be referred to was fed of the group before
        for number, (group, end) in enumerate(zip(groups, last, strict=True)):
            anew = not (resets or whole or number == 0)
            whole = end is not None and not any(self.kinds[end + 1 : group.stop])
            if end is None:
                continue
            if anew:
                fresh.add(group.start)
            for position in range(group.start, end + 1):
                time = self.stamps[position] if self.shown[position] else None
                if not (self.kinds[position] or position == 0 or time in wanted):
                    continue
                # A leading picture is shown before the start and refers to what was before it: it cannot come out.
                leading = anew and self._leads(position, group.start)
                if leading and not self.kinds[position] & PARAMETERS:
                    continue
                fed.add(position)
                if time is not None and not leading:
                    expected.add(time)
        starts = set() if resets else {position for position in fed if self.kinds[position] & start}
        return Needs(
            fed=frozenset(fed),
            fresh=frozenset(fresh),
            starts=self._times_of(starts),
            numbers=wanted,
            expected=frozenset(expected),
            allowed=self._times_of(fed),
        )

    def _times_of(self, positions: set[int]) -> frozenset[int]:
        times = (self.stamps[position] for position in positions if self.shown[position])
        return frozenset(time for time in times if time is not None)

    def _groups(self, start: int) -> list[range]:
        """The packets from each start to the next."""
        begins = [position for position, kind in enumerate(self.kinds) if kind & start or position == 0]
        return [range(begin, end) for begin, end in zip(begins, [*begins[1:], len(self.kinds)], strict=True)]

    def _last_needed(self, groups: list[range], wanted: dict[int, int], resets: bool) -> list[int | None]:
        """The last packet of each group that must be fed; None for a group of which nothing is needed."""
        last: list[int | None] = [None] * len(groups)
        for number, group in enumerate(groups):
            for position in group:
                time = self.stamps[position] if self.shown[position] else None
                # The first packet may say what made the stream, in units that are no parameter sets.
                if not (position == 0 or self.kinds[position] & PARAMETERS or time in wanted):
                    continue
                last[number] = position
                if time in wanted and number and not resets and self._leads(position, group.start):
                    last[number - 1] = groups[number - 1].stop - 1
        return last

    def _leads(self, position: int, start: int) -> bool:
        time, begin = self.stamps[position], self.stamps[start]
        return time is None or begin is None or time < begin

# SPDX-License-Identifier: Apache-2.0
"""How the memory is kept within bounds: each policy turns a transcript into a plan.

The paper's four columns (arXiv 2510.09608, figure 1): (a) full attention, (b) window without
overlap, (c) window with overlap, which encodes everything anew, (d) streaming. All are pure
functions of the transcript, the settings and the number of the round that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError
from svlm_core.transcript import ROUND_ROLES, Piece, Plan, Role, Segment, Transcript

Content = Callable[[Segment], int]  # how many of a reply's tokens move to previous text


def plan_round(
    transcript: Transcript, settings: StreamSettings, upcoming: int, content: Content
) -> Plan:
    """The plan before round number `upcoming` >= 1 of a stream.

    `content` tells how many leading tokens of a reply are worth keeping as previous text.
    Raises SettingsError where the published code would destroy its own layout.
    """
    if settings.policy == 'full_attention':
        return Plan(keep_all(transcript))
    if settings.policy == 'window':
        return window(transcript, settings, upcoming, content)
    pieces = streaming(transcript, settings, upcoming, content)
    return Plan(pieces, reuse=settings.policy == 'streaming')


def check_recall(settings: StreamSettings) -> None:
    """Raise SettingsError where no evicted round could be brought back."""
    if settings.policy != 'streaming' or settings.rope == 'native':
        raise SettingsError(
            'rounds are brought back under policy=streaming, and not with rope=native: here it is '
            f'policy={settings.policy} with rope={settings.rope}'
        )


def keep_all(transcript: Transcript) -> tuple[Piece, ...]:
    """Every segment, whole."""
    return tuple(_whole(n, s) for n, s in enumerate(transcript.segments))


def streaming(
    transcript: Transcript, settings: StreamSettings, upcoming: int, content: Content
) -> tuple[Piece, ...]:
    """Vision leaves after its window, replies move to previous text, its middle is cut."""
    seen_from = _first_kept(upcoming, settings.vision_rounds)
    read_from = _first_kept(upcoming, settings.text_rounds)

    def stays(segment: Segment) -> bool:
        if segment.round is None:
            return True
        seen, read = segment.round >= seen_from, segment.round >= read_from
        if segment.role is Role.VISION:
            return seen
        if segment.role in (Role.USER, Role.TAIL):
            return seen or read
        return read

    return _rebuild(transcript, settings, stays, content)


def window(
    transcript: Transcript, settings: StreamSettings, upcoming: int, content: Content
) -> Plan:
    """Everything grows until a hard reset, which keeps the replies as previous text alone."""
    if upcoming % settings.reset_rounds:
        return Plan(keep_all(transcript))
    pieces = _rebuild(transcript, settings, lambda s: s.role not in ROUND_ROLES, content)
    return Plan(pieces, reuse=False, opening=True)


def trim(previous: Iterable[Piece], sink: int | None, recent: int | None) -> tuple[Piece, ...]:
    """Previous text without the middle: its first `sink` and its last `recent` tokens."""
    pieces = tuple(previous)
    total = sum(p.high - p.low for p in pieces)
    if sink is None or recent is None or total <= sink + recent:
        return pieces
    return _cut(pieces, 0, sink) + _cut(pieces, total - recent, total)


def _rebuild(
    transcript: Transcript,
    settings: StreamSettings,
    stays: Callable[[Segment], bool],
    content: Content,
) -> tuple[Piece, ...]:
    """Pieces of what stays, with the replies that do not at the end of previous text."""
    close = transcript.find(Role.PREVIOUS_CLOSE)
    head: list[Piece] = []
    previous: list[Piece] = []
    moved: list[Piece] = []
    tail: list[Piece] = []
    for number, segment in enumerate(transcript.segments):
        if stays(segment):
            if segment.role is Role.PREVIOUS:
                place = previous
            else:
                place = head if close is None or number < close else tail
            place.append(_whole(number, segment))
        elif segment.role is Role.REPLY:
            moved.append(Piece(number, 0, content(segment), Role.PREVIOUS))
    return (*head, *_trimmed([*previous, *moved], settings), *tail)


def _trimmed(previous: list[Piece], settings: StreamSettings) -> tuple[Piece, ...]:
    sink, recent = settings.text_sink, settings.text_window
    if not settings.published_quirks or sink is None or recent is None:
        return trim(previous, sink, recent)
    # The published cut is one token longer than its name says: T_window - 1 tokens remain, as
    # soon as they and the sink are exceeded; with T_window = 0 it would take the end marker.
    if recent == 0 and sum(p.high - p.low for p in previous) >= sink:
        raise SettingsError(
            'text_window=0 makes the published code cut the end marker of its previous text: '
            'use preset robot, or text_window >= 1'
        )
    return trim(previous, sink, recent - 1)


def _cut(pieces: tuple[Piece, ...], low: int, high: int) -> tuple[Piece, ...]:
    """Tokens `low` to `high`, counted over all pieces together."""
    cut, start = [], 0
    for piece in pieces:
        size = piece.high - piece.low
        first, last = max(low - start, 0), min(high - start, size)
        if first < last:
            cut.append(replace(piece, low=piece.low + first, high=piece.low + last))
        start += size
    return tuple(cut)


def _whole(number: int, segment: Segment) -> Piece:
    return Piece(number, 0, len(segment.ids), segment.role)


def _first_kept(upcoming: int, rounds: int | None) -> int:
    return 0 if rounds is None else upcoming - rounds + 1

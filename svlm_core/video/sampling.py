# SPDX-License-Identifier: Apache-2.0
"""Which frames a round shows: timestamped frames in, rounds of a fixed number of frames out.

Works on timestamps alone, in one pass, holding the frames of one round. A last round that the
source does not fill is left out, as the published system does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from svlm_core.config import StreamSettings
from svlm_core.errors import SourceError
from svlm_core.video.frame import Frame

STAMP_ERROR = 4.9e-4  # seconds; Matroska rounds stamps to milliseconds
END_ERROR = 1e-2  # and the length of every frame, so that the last one may end a little early
BORDER_ERROR = 1e-6  # the published code's own allowance


@dataclass(frozen=True, eq=False)
class Round:
    """The frames of one round: seconds `start` to `end` of the source.

    `frames` (T, H, W, 3) uint8, the newest of them of time `stamp`. `used` is T; of those,
    `repeated` are shown again for want of a newer one. `dropped` frames came since the round
    before and are not shown.
    """

    start: float
    end: float
    stamp: float
    frames: np.ndarray
    used: int
    repeated: int
    dropped: int


def sample(
    frames: Iterable[Frame],
    settings: StreamSettings,
    start: float = 0.0,
    duration: float | None = None,
) -> Iterator[Round]:
    """The rounds of a source from `start` seconds on, within `duration` seconds (None: all).

    Chooses `exact` or, under `settings.published_quirks`, `published`. Where the source fails,
    the rounds that are whole come out first, then its SourceError.
    """
    choose = published if settings.published_quirks else exact
    rounds = choose(frames, settings.fps, settings.chunk_seconds, start)
    if duration is None:
        return rounds
    return islice(rounds, int((duration + STAMP_ERROR) / settings.chunk_seconds))


def exact(
    frames: Iterable[Frame], fps: float, seconds: float, start: float = 0.0
) -> Iterator[Round]:
    """Rounds that show what is on screen at t, t + 1/fps, ... of each round.

    Each instant takes the newest frame whose stamp is not after it; instants before the first
    frame take the first. Integer frame rates therefore show no frame twice.
    """
    count, number, dropped = round(fps * seconds), 0, 0
    picks: list[Frame] = []
    latest = shown = None
    for frame in _to_the_end(frames):
        # No frame between `latest` and this one can come: the instants there are settled.
        while start + number * seconds + len(picks) / fps < frame.stamp - STAMP_ERROR:
            if len(picks) < count:
                picks.append(latest or frame)
                continue
            yield _round(start + number * seconds, seconds, picks, shown, dropped)
            shown, picks, dropped, number = picks[-1], [], 0, number + 1
        if latest is not None and latest.stamp > start - STAMP_ERROR:
            dropped += latest is not (picks[-1] if picks else shown)
        latest = frame


def published(
    frames: Iterable[Frame], fps: float, seconds: float, start: float = 0.0
) -> Iterator[Round]:
    """Rounds as the published StreamingVLM code takes them from a video, its oddity included.

    Of the frames that END within the closed interval of the round, those at the first such end
    + k/fps are taken, an odd number is made even with the last one, and the round shows the LAST
    fps x seconds of them. At integer frame rates that is one frame, twice: the one at the border.
    """
    count, number, arrived = round(fps * seconds), 0, 0
    targets: list[Frame] = []
    shown: Frame | None = None
    for frame in _to_the_end(frames):
        while True:  # a frame at the border belongs to two rounds
            begin = start + number * seconds
            end = begin + seconds
            if begin - BORDER_ERROR <= frame.end <= end + BORDER_ERROR:
                arrived += frame.end > begin + BORDER_ERROR
                first = targets[0].end if targets else frame.end
                while first + len(targets) / fps <= frame.end + BORDER_ERROR:
                    targets.append(frame)
            if frame.end < end - BORDER_ERROR:
                break
            targets = targets or [shown or frame]
            targets += [targets[-1]] * max(len(targets) % 2, count - len(targets))
            picks = targets[-count:]
            new = {id(pick) for pick in picks if pick.end > begin + BORDER_ERROR}
            yield _round(begin, seconds, picks, shown, max(0, arrived - len(new)))
            shown, targets, arrived, number = picks[-1], [], 0, number + 1


def _to_the_end(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames, then a mark at the end of the last one, then the failure of the source if any.

    The mark lets the rules close the last round; a failure must not cost a round that is whole.
    """
    last, failure = None, None
    try:
        for frame in frames:
            last = frame
            yield frame
    except SourceError as error:
        failure = error
    if last is not None:
        yield Frame(last.end + END_ERROR, last.end + END_ERROR, last.rgb)
    if failure is not None:
        raise failure


def _round(
    start: float, seconds: float, picks: list[Frame], shown: Frame | None, dropped: int
) -> Round:
    """Make the pixels of a round; `shown` is the last frame of the round before."""
    repeated = [before is after for before, after in pairwise([shown, *picks])]
    images: list[np.ndarray] = []
    for position, pick in enumerate(picks):
        images.append(images[-1] if position and repeated[position] else pick.rgb())
    return Round(
        start, start + seconds, picks[-1].stamp, _stack(images), len(picks), sum(repeated), dropped
    )


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """One array (T, H, W, 3) of images (H, W, 3), all brought to the size of the newest."""
    size = images[-1].shape
    if any(image.shape != size for image in images):
        import torch  # only where a camera changes its resolution within a round

        from svlm_core.video.resize import resize

        tensors = [torch.from_numpy(image.copy())[None] for image in images]
        images = [resize(tensor, (size[0], size[1]))[0].numpy() for tensor in tensors]
    return np.stack(images)

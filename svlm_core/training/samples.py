# SPDX-License-Identifier: Apache-2.0
"""A chunk of stream as the model is to learn it: token ids, positions, and what to predict.

A chunk is laid out by the prompt and the plans of inference (arXiv 2510.09608, section 3.2): it is
what policy `window` holds that was reset just before it, and the rounds that follow, each with the
reply that is wanted. All that was said earlier is previous text, cut to sink and window.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from svlm_core.config import StreamSettings
from svlm_core.model.config import ModelConfig
from svlm_core.policies import window
from svlm_core.prompt import ChatTokenizer, Prompt
from svlm_core.rope import Grid, lay_out
from svlm_core.transcript import Role, Segment, Transcript
from svlm_core.video.resize import fit, resize


@dataclass(frozen=True, eq=False)
class Moment:
    """One round to learn from, which starts at `start` seconds of stream.

    `frames` (F, H, W, 3) uint8 RGB as the camera gives them; `words` is what to say, '' silence.
    What is not `learnt` stands in the chunk to be read, such as what was said under another query.
    """

    start: float
    frames: np.ndarray
    words: str
    learnt: bool = True


@dataclass(frozen=True, eq=False)
class Sample:
    """One chunk, ready to be packed beside others.

    `ids` (T,) and `positions` (3, T) are as in inference. `seen` (V,) are the places of vision
    tokens, `film` (F, H, W, 3) uint8 the frames that fill them. The states at `asked` (M,) are to
    predict `labels` (M,): the tokens of every reply and its end marker, nothing else. Where
    frames leave early, `until` (T,) has for each token the first place that no longer sees it.
    """

    ids: Tensor
    positions: Tensor
    seen: Tensor
    film: Tensor
    asked: Tensor
    labels: Tensor
    until: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Composer:
    """Makes samples for one model and one kind of stream.

    `video_tokens` bounds the vision tokens of a whole sample, as in the published training.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        config: ModelConfig,
        settings: StreamSettings,
        video_tokens: int,
    ) -> None:
        self.tokenizer, self.config, self.settings = tokenizer, config, settings
        self._video_tokens = video_tokens

    def compose(
        self,
        moments: Sequence[Moment],
        earlier: Sequence[str],
        first: int,
        query: str = '',
        *,
        quiz: tuple[str, str] | None = None,
        vision_rounds: int | None = None,
    ) -> Sample:
        """The chunk of `moments`, the first of which is round `first` of its stream.

        `earlier` is what was said before, reply by reply; `query` takes the place of the
        settings' where it is not empty; `quiz` is a question that is put at the end, and its
        answer. With `vision_rounds` only so many rounds keep their frames in sight, the current
        one included; positions stay as if none had left. Raises FrameError for frames that cannot
        be used.
        """
        prompt = Prompt(self.tokenizer, self.settings)
        prompt.query = query or prompt.query
        films = [self._film(moment.frames, len(moments)) for moment in moments]
        rounds = [
            segment
            for number, (moment, film) in enumerate(zip(moments, films, strict=True), first)
            for segment in self._round(prompt, number, moment, film)
        ]
        asking = self._quiz(prompt, *quiz) if quiz else ()
        transcript = Transcript((*self.opening(prompt, earlier), *rounds, *asking))
        rate = self.config.text.rope.tokens_per_second
        laid = lay_out(transcript.runs_from(0), 0, 2 / self.settings.fps, rate)
        learnt = {number for number, moment in enumerate(moments, first) if moment.learnt}
        asked, labels = _supervised(transcript, self.tokenizer.turn_end, {*learnt, None})
        return Sample(
            ids=torch.tensor(transcript.ids),
            positions=torch.from_numpy(laid),
            seen=torch.tensor(list(_seen(transcript)), dtype=torch.long),
            film=torch.cat(films),
            asked=asked,
            labels=labels,
            until=_until(transcript, self.tokenizer.turn_end, vision_rounds),
        )

    def opening(self, prompt: Prompt, earlier: Sequence[str]) -> tuple[Segment, ...]:
        """What stands before the rounds of a chunk, with what was said `earlier` cut to size."""
        said = [self.reply(prompt, 0, words) for words in earlier]
        held = Transcript((*prompt.opening(), *said))
        plan = window(held, self.settings, self.settings.reset_rounds, prompt.content)
        return held.applied(plan).segments

    def reply(self, prompt: Prompt, number: int, words: str) -> Segment:
        """The reply that is wanted."""
        return prompt.reply(number, self.tokenizer.reply(words), 'end')

    def tokens(self, words: str) -> int:
        """How many tokens `words` are in previous text."""
        return len(self.tokenizer.words(words))

    def blank(self) -> Sample:
        """A round of darkness from which nothing is learnt: it stands in for an empty pack."""
        side = self.config.vision.patch_size * self.config.vision.merge_size
        dark = np.zeros((self.settings.frames_per_round, side, side, 3), np.uint8)
        sample = self.compose([Moment(0, dark, '')], [], 0)
        nothing = torch.zeros(0, dtype=torch.long)
        return Sample(sample.ids, sample.positions, sample.seen, sample.film, nothing, nothing)

    def _round(
        self, prompt: Prompt, number: int, moment: Moment, film: Tensor
    ) -> Iterator[Segment]:
        yield from prompt.round(number, moment.start, self._grid(film), opening=number == 0)
        yield prompt.ended(self.reply(prompt, number, moment.words))

    def _quiz(self, prompt: Prompt, question: str, answer: str) -> tuple[Segment, ...]:
        """A question and the answer that is wanted; they belong to no round."""
        reply = replace(prompt.ended(self.reply(prompt, 0, answer)), round=None)
        return (*prompt.question(question), reply)

    def _film(self, frames: np.ndarray, rounds: int) -> Tensor:
        """Frames at the size the model sees, filled up to whole temporal patches."""
        vision, settings = self.config.vision, self.settings
        most = min(settings.max_vision_tokens, self._video_tokens // rounds)
        cell = vision.patch_size * vision.merge_size
        height, width = frames.shape[1:3]
        size = fit(height, width, most, cell, settings.min_vision_tokens)
        film = resize(torch.from_numpy(np.ascontiguousarray(frames)), size)
        missing = -len(film) % vision.temporal_patch
        return torch.cat([film, film[-1:].expand(missing, -1, -1, -1)])

    def _grid(self, film: Tensor) -> Grid:
        vision = self.config.vision
        cell = vision.patch_size * vision.merge_size
        frames, height, width = film.shape[:3]
        return frames // vision.temporal_patch, height // cell, width // cell


def _seen(transcript: Transcript) -> Iterator[int]:
    """Places of the vision tokens."""
    for start, segment in zip(transcript.starts, transcript.segments, strict=False):
        if segment.grid is not None:
            yield from range(start + 1, start + 1 + math.prod(segment.grid))  # behind the marker


def _until(transcript: Transcript, turn_end: int, vision_rounds: int | None) -> Tensor | None:
    """For each token the first place that no longer sees it; None where all is seen for good.

    Frames leave as a running stream has them leave: before the round that comes `vision_rounds`
    after theirs, with which the end marker of the reply before it is encoded.
    """
    if vision_rounds is None:
        return None
    placed = list(zip(transcript.starts, transcript.segments, strict=False))
    ends = {s.round: at + s.ids.index(turn_end) for at, s in placed if s.role is Role.REPLY}
    until = torch.full((len(transcript),), len(transcript))
    for at, segment in placed:
        if segment.role is Role.VISION and segment.round is not None:
            leaves = segment.round + vision_rounds
            if leaves in ends:
                until[at : at + len(segment.ids)] = ends[leaves - 1]
    return until


def _supervised(
    transcript: Transcript, turn_end: int, rounds: Container[int | None]
) -> tuple[Tensor, Tensor]:
    """Where the tokens of the replies of `rounds` are predicted, and what they are.

    A reply is learnt up to its end marker. An answer is a reply of no round.
    """
    asked: list[int] = []
    labels: list[int] = []
    for start, segment in zip(transcript.starts, transcript.segments, strict=False):
        if segment.role is Role.REPLY and segment.round in rounds:
            said = segment.ids[: segment.ids.index(turn_end) + 1]
            asked.extend(range(start - 1, start - 1 + len(said)))
            labels.extend(said)
    return torch.tensor(asked, dtype=torch.long), torch.tensor(labels, dtype=torch.long)

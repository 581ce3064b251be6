# SPDX-License-Identifier: Apache-2.0
"""Frames shown all at once, in one turn, as offline models are asked."""

from __future__ import annotations

import torch
from torch import Tensor

from svlm_core.config import StreamSettings
from svlm_core.engine import StreamingVLM
from svlm_core.evaluation.vqa.answering import LIKELIEST, Reply, Telling, spoken
from svlm_core.evaluation.vqa.frames import Shown, instants, newest, sizes, take
from svlm_core.evaluation.vqa.protocol import Ask, Pixels, Rules
from svlm_core.evaluation.vqa.question import Question
from svlm_core.evaluation.vqa.subtitles import below, read_subtitles
from svlm_core.memory import Memory
from svlm_core.model.vision import merged_grid, patchify
from svlm_core.prompt import CLOSING, SYSTEM
from svlm_core.rope import Grid
from svlm_core.speaker import Speaker
from svlm_core.stopwatch import Stopwatch
from svlm_core.transcript import Plan, Role, Segment, Transcript
from svlm_core.video.sources import length

FPS = 2.0  # the rate that positions stand for: published evaluation never tells the true one
STEPS = 16  # of video that the vision tower takes in one go; no two steps attend to each other


class AtOnce:
    """Asks about frames of a stretch: those of the protocol, or the `last` few of a stream."""

    def __init__(
        self,
        engine: StreamingVLM,
        rules: Rules,
        pixels: Pixels,
        last: int | None = None,
        fps: float = FPS,
    ) -> None:
        self.name = 'offline' if last is None else f'last {last} frames'
        self._engine, self._rules, self._pixels = engine, rules, pixels
        self._last, self._fps = last, fps
        self._viewer = Viewer(engine)

    def ask(self, question: Question, until: float | None, tell: Telling) -> Reply:
        path, rate = question.video, question.image_fps
        first = self._rules.first(question)
        end = length(path, rate)
        end = end if until is None else min(until, end)
        if self._last is None:
            start = max(first, self._rules.begins(question, until))
            seconds = instants(self._rules.frames, start, end)
        else:
            seconds = newest(self._last, self._fps, first, end)
        size = sizes(self._pixels, len(seconds), self._engine.model.config.vision)
        shown = take(path, rate, seconds, size)
        lines = read_subtitles(question.subtitles) if question.subtitles else ()
        return self._viewer.answer(shown, tell(below(lines, shown.seconds)))


class Viewer:
    """A model that is shown frames and asked; nothing is kept from one question to the next."""

    def __init__(self, engine: StreamingVLM) -> None:
        self._model, self._tokenizer = engine.model, engine.tokenizer
        self._speaker = Speaker(engine.model, engine.tokenizer, LIKELIEST)
        self._settings = StreamSettings(fps=FPS)
        self._memory: Memory | None = None
        self._longest = 0  # answer that it has room for

    def answer(self, shown: Shown, ask: Ask) -> Reply:
        """The likeliest answer to what is asked about these frames."""
        features, grid = self._look(shown)
        transcript = Transcript((*self._turns(ask, grid, shown.seconds),))
        memory = self._room(len(transcript), ask.tokens)
        memory.clear()
        memory.change(Transcript(), Plan((), reuse=False), transcript)
        [hidden] = memory.encode({0: features})
        drawn = self._speaker.reply(memory, hidden, ask.tokens, Stopwatch(self._model.device))
        return Reply(
            text=spoken(drawn, ask, self._tokenizer),
            asked=ask,
            frames=len(shown.frames),
            pixels=(shown.frames.shape[1], shown.frames.shape[2]),
            seen=(shown.seconds[0], shown.seconds[-1]),
            tokens=len(transcript),
        )

    @torch.inference_mode()
    def _look(self, shown: Shown) -> tuple[Tensor, Grid]:
        """Vision tokens (n, hidden) of frames, and their grid."""
        model, vision, parts, steps = self._model, self._model.config.vision, [], 0
        size = STEPS * vision.temporal_patch
        for low in range(0, len(shown.frames), size):
            pixels = torch.from_numpy(shown.frames[low : low + size]).to(model.device)
            patches, grid = patchify(pixels, vision, model.mean, model.std, model.dtype)
            parts.append(model.vision(patches, grid))
            steps += grid[0]
        _, rows, columns = merged_grid(grid, vision)
        return torch.cat(parts), (steps, rows, columns)

    def _turns(self, ask: Ask, grid: Grid, seconds: tuple[float, ...]) -> list[Segment]:
        """A system line, and one turn of the user with the frames in it."""
        code = self._tokenizer
        line, pads = code.encode('\n'), [code.video_pad] * (grid[0] * grid[1] * grid[2])
        system = code.encode(f'system\n{ask.system or SYSTEM}')
        opened = (code.turn_start, *code.encode(f'user\n{ask.before}'))
        video = (code.vision_start, *pads, code.vision_end)
        header = (code.turn_start, *code.encode(f'assistant\n{ask.begun}'))
        return [
            Segment(Role.SYSTEM, (code.turn_start, *system, code.turn_end, *line)),
            Segment(Role.USER, opened, 0),
            Segment(Role.VISION, video, 0, grid, (seconds[0], seconds[-1])),
            Segment(Role.TAIL, (*code.encode(ask.text), code.turn_end, *line), 0),
            Segment(Role.ASSISTANT, header, 0),
        ]

    def _room(self, tokens: int, answer: int) -> Memory:
        """A memory for so many tokens and an answer; another one where a question needs more."""
        needed = tokens + answer + CLOSING
        if self._memory is None or self._memory.cache.capacity < needed or self._longest < answer:
            self._memory = None  # its planes go before larger ones come
            self._longest = max(self._longest, answer)
            self._memory = Memory(self._model, self._settings, needed, self._longest)
        return self._memory

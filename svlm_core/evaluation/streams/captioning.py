# SPDX-License-Identifier: Apache-2.0
"""Who captions a stretch of a video: a checkpoint that watches it, or a model behind an endpoint.

A captioner is a function of a stretch, the file of its video, and whom to tell how far it is. It
raises SourceError for a video that cannot be read at all.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svlm_core.config import StreamSettings
from svlm_core.endpoints.asking import ask
from svlm_core.endpoints.chat import Chat, Message
from svlm_core.errors import FrameError, MemoryFull, SourceError
from svlm_core.evaluation.identity import Identity
from svlm_core.evaluation.streams.benchmark import Query, Stretch
from svlm_core.shapes import Misfit
from svlm_core.timeline import picture
from svlm_core.video.sampling import sample
from svlm_core.video.sources import open_source

if TYPE_CHECKING:  # torch takes seconds to import
    from svlm_core.engine import StreamingVLM

FPS, MOST, HEIGHT = 0.25, 60, 360  # of the published GPT-4o mini: frames a second, in all, lines

DESCRIBE = 'Describe the video.'  # what GPT-4o mini is asked of a game, as published
TOLD = (
    'You comment a video live. You are shown frames of one stretch of it, each with its second. '
    'Say in two to six sentences what a commentator says over them, in the order in which it '
    'happens. Answer with the commentary alone.'
)


@dataclass(frozen=True)
class Remark:
    """What was said from second `start` to `end` of a video, and the tokens it took, if known."""

    start: float
    end: float
    text: str
    tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """An item of an answer, as published."""
        more = {} if self.tokens is None else {'tokens': self.tokens}
        return {'response': self.text, 'start_time': self.start, 'end_time': self.end, **more}


@dataclass(frozen=True)
class Told:
    """What was said of a stretch, and the second up to which it was shown.

    `problem` is why there is less than there should be: damage, a full memory, a refusal.
    """

    remarks: tuple[Remark, ...]
    end: float
    problem: str = ''

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Told:
        """From what `asdict` makes of it."""
        remarks = tuple(Remark(**remark) for remark in content['remarks'])
        return cls(remarks, content['end'], content['problem'])


Seen = Callable[[float], None]  # seconds of the stretch that are done
Captioner = Callable[[Stretch, Path, Seen], Told]


def by_engine(
    engine: StreamingVLM,
    settings: StreamSettings,
    query: Query,
    previous: bool,
    retrieved: int = 0,
) -> Captioner:
    """Watch a stretch second by second in a stream of its own, which begins with its words.

    With `previous` what the reference said before is the previous text. The same stretch always
    gives the same captions, whichever came before it. So many evicted rounds are `retrieved` in
    each (`recall`). Where a video breaks off, or the memory is
    full, what was said until then is kept.
    """
    from svlm_core.capacity import sized
    from svlm_core.prompt import Prompt

    def caption(stretch: Stretch, video: Path, seen: Seen) -> Told:
        own = replace(
            settings,
            query=query(stretch),
            previous_text=stretch.previous if previous else settings.previous_text,
        )
        length = stretch.end - stretch.start
        room = sized(Prompt(engine.tokenizer, own), own, length)
        stream = engine.open(room, retrieved=retrieved)
        said, problem = list[Remark](), ''
        with closing(open_source(video, start=stretch.start)) as source:
            try:
                for shown in sample(source, own, stretch.start, length):
                    reply = stream.step(shown.frames, shown.start)
                    words = reply.text.strip()
                    said.append(Remark(shown.start, shown.end, words, len(reply.ids)))
                    seen(shown.end - stretch.start)
                source.verify()
            except (SourceError, FrameError, MemoryFull) as error:
                problem = str(error)
        if not said:
            raise SourceError(problem or f'{video} has no round from {stretch.start:g} s on')
        if not problem and stretch.end - said[-1].end >= own.chunk_seconds:
            problem = f'{video} ends before {stretch.end:g} s'
        return Told(tuple(said), said[-1].end, problem)

    return caption


def by_chat(chat: Chat, query: Query, previous: bool) -> Captioner:
    """Show a model some frames of a stretch at once; what it answers is said of all of it.

    A model that refuses, or says nothing three times, has said nothing; `problem` tells why.
    """

    def caption(stretch: Stretch, video: Path, seen: Seen) -> Told:
        told = query(stretch)
        if previous and stretch.previous:
            told = f'{told}\nSaid before:\n{stretch.previous}'
        content: list[Message] = [{'type': 'text', 'text': told}]
        for second, jpeg in frames(video, stretch.start, stretch.end):
            url = f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}'
            content.append({'type': 'text', 'text': f'{second:.1f} s'})
            content.append({'type': 'image_url', 'image_url': {'url': url}})
        messages: list[Message] = [
            {'role': 'system', 'content': TOLD},
            {'role': 'user', 'content': content},
        ]
        answer = ask(chat, messages, _words)
        remark = Remark(stretch.start, stretch.end, answer.value or '')
        seen(stretch.end - stretch.start)
        return Told((remark,), stretch.end, answer.problem)

    return caption


def of_chat(model: str, base_url: str, told: Query, previous: bool, data: Any) -> Identity:
    """How captions of `by_chat` came about; `told` is asked of a stretch without a title."""
    untitled = Stretch('', 0, 0, '', '')
    return Identity(
        mode='windows †',
        policy=None,
        frames=f'{FPS:g} fps, at most {MOST}',
        pixels=f'JPEG, at most {HEIGHT} lines',
        positions='not known',
        model={'name': model, 'base_url': base_url},
        data=data,
        seed=42,
        settings={
            'system': TOLD,
            'query': told(untitled),
            'previous': 'truth' if previous else 'none',
        },
    )


def frames(video: Path, start: float, end: float) -> list[tuple[float, bytes]]:
    """Frames as JPEG, with their seconds: FPS of them a second, at most MOST, HEIGHT lines high.

    Raises SourceError where there are none.
    """
    step = max(1 / FPS, (end - start) / MOST)
    due = [start + number * step for number in range(math.ceil((end - start) / step - 1e-6))]
    found = list[tuple[float, bytes]]()
    with closing(open_source(video, start=start)) as source:
        for frame in source:
            while len(found) < len(due) and frame.stamp < end and frame.end > due[len(found)]:
                shot = picture(due[len(found)], frame.rgb(), HEIGHT)
                found.append((shot.stamp, shot.jpeg))
            if len(found) == len(due) or frame.stamp >= end:
                break
    if not found:
        raise SourceError(f'{video} has no frame from {start:g} s to {end:g} s')
    return found


def _words(text: str) -> str:
    if not text.strip():
        raise Misfit('the commentary', 'is empty')
    return text.strip()

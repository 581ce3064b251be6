# SPDX-License-Identifier: Apache-2.0
"""The chat layout: the only place that turns a round of stream into token ids.

Inference and training use the same functions. The layout is that of the published system:
a system line, a block with the unusual role name 'previous text', then one user and one
assistant turn per round. Preset `robot` adds the pinned query as a turn of its own before the
previous text; preset `reference` asks it inside round 0, as published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from svlm_core.caption import TERMINATOR, Answer, Stop
from svlm_core.config import StreamSettings
from svlm_core.errors import SettingsError, TokenizerError
from svlm_core.rope import Grid
from svlm_core.transcript import Role, Segment

SYSTEM = 'You are a helpful assistant.'
CLOSING = 2  # tokens that close a reply: its end marker and the line feed before the next turn
LONGEST_TIME = 10**7 - 1  # seconds; 115 days, for which round headers are sized


class ChatTokenizer:
    """Qwen's tokenizer with its layout tokens by name. Text is data: it never becomes a marker.

    Raises TokenizerError when the folder has no tokenizer or a layout token is missing.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / 'tokenizer.json'
        if not path.is_file():
            raise TokenizerError(f'{path} does not exist: take the folder of a whole checkpoint')
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for a bad file
            raise TokenizerError(f'{path} is not a tokenizer file: {error}') from error
        self._tokenizer.encode_special_tokens = True
        self._folder = folder
        self.turn_start = self._special('<|im_start|>')
        self.turn_end = self._special('<|im_end|>')
        self.vision_start = self._special('<|vision_start|>')
        self.vision_end = self._special('<|vision_end|>')
        self.video_pad = self._special('<|video_pad|>')
        known = self._tokenizer.get_added_tokens_decoder().items()
        self.special = frozenset(token for token, added in known if added.special)
        terminator = self.encode(TERMINATOR)
        self.terminator = terminator[0] if len(terminator) == 1 else None

    def _special(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise TokenizerError(
                f'the tokenizer in {self._folder} has no token {name}: '
                'svlm needs a checkpoint with the chat layout of Qwen2.5-VL'
            )
        return token

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text; names of special tokens in it stay text.

        Raises SettingsError for text with half a character in it, as undecodable bytes leave.
        """
        try:
            text.encode('utf-8')
        except UnicodeEncodeError as error:
            raise SettingsError(f'text has no valid character at place {error.start}') from error
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def words(self, text: str) -> tuple[int, ...]:
        """Words as they stand in commentary: each behind its space."""
        return self.encode(''.join(f' {word}' for word in text.split()))

    def reply(self, text: str) -> tuple[int, ...]:
        """A whole reply as it is learnt: words, terminator, end marker."""
        return (*self.words(text), *self.encode(TERMINATOR), self.turn_end)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


class Prompt:
    """Lays out one stream: its opening, its rounds, and what of a reply is worth keeping."""

    def __init__(self, tokenizer: ChatTokenizer, settings: StreamSettings) -> None:
        self.tokenizer = tokenizer
        self.query = settings.query
        self.pins: tuple[str, ...] = ()  # sentences of the operator
        self._settings = settings
        self._newline = tokenizer.encode('\n')
        self._user = (tokenizer.turn_start, *tokenizer.encode('user\n'))
        self._assistant = (tokenizer.turn_start, *tokenizer.encode('assistant\n'))

    def opening(self) -> list[Segment]:
        """System line, pinned query, and the block of previous text."""
        system = Segment(Role.SYSTEM, self._turn('system\n', SYSTEM))
        return [system, *self.pinned(self.query, self.pins), *self._previous_text()]

    def pinned(self, query: str, pins: Sequence[str]) -> list[Segment]:
        """Query and pinned sentences, a line each, as a turn that is never evicted.

        None as published, or if all are empty.
        """
        lines = [line for line in (query, *pins) if line]
        if self._settings.published_quirks or not lines:
            return []
        return [Segment(Role.PINNED, self._turn('user\n', '\n'.join(lines)))]

    def question(self, text: str, begun: str = '') -> list[Segment]:
        """A user's turn without frames, up to where its answer goes on, which may be `begun`."""
        header = (self.tokenizer.turn_start, *self.tokenizer.encode(f'assistant\n{begun}'))
        return [
            Segment(Role.QUESTION, self._turn('user\n', text)),
            Segment(Role.ASSISTANT, header),
        ]

    def exchange(self, number: int, answer: Answer) -> list[Segment]:
        """A question and its answer as a turn that ages with round `number`."""
        asked = [replace(segment, round=number) for segment in self.question(answer.question)]
        return [*asked, self.ended(self.reply(number, answer.ids, answer.stopped))]

    def round(self, number: int, start: float, grid: Grid | None, opening: bool) -> list[Segment]:
        """The user's turn of a round that starts at `start` seconds, up to the reply's header."""
        code, shown = self.tokenizer, (start, start + self._settings.chunk_seconds)
        asks = opening and self._settings.published_quirks
        tail = code.encode(self.query) if asks else ()
        vision = self._vision(number, grid, shown)
        if vision and tail[:1] == self._newline:
            # As published: a line feed that begins the query leaves with the frames before it.
            vision = [replace(vision[0], ids=vision[0].ids + self._newline)]
            tail = tail[1:]
        return [
            Segment(Role.USER, self._user, number),
            Segment(Role.TIME, self._time(self._wrapped(start)), number),
            *vision,
            Segment(Role.TAIL, (*tail, code.turn_end, *self._newline), number),
            Segment(Role.ASSISTANT, self._assistant, number),
        ]

    def reply(self, number: int, ids: Sequence[int], stopped: Stop = 'limit') -> Segment:
        """The reply's segment: the sampled ids, closed by an end marker if they were cut off.

        Another token that ended it gives way to that marker; as published it stays before it.
        """
        end = self.tokenizer.turn_end
        if stopped == 'end' and not self._settings.published_quirks:
            ids = ids[:-1]
        closed = tuple(ids) if ids and ids[-1] == end else (*ids, end)
        return Segment(Role.REPLY, closed, number)

    def ended(self, reply: Segment) -> Segment:
        """The reply as it stands once another turn follows: with the line feed between them."""
        if reply.ids[-1] != self.tokenizer.turn_end:
            return reply
        return Segment(Role.REPLY, reply.ids + self._newline, reply.round)

    def content(self, reply: Segment) -> int:
        """How many leading tokens of a reply move to previous text.

        As published: all but the last before the end marker, whatever it is. Else all but the
        terminator.
        """
        size = reply.ids.index(self.tokenizer.turn_end)
        if self._settings.published_quirks:
            return max(size - 1, 0)
        return size - (size > 0 and reply.ids[size - 1] == self.tokenizer.terminator)

    def text(self, ids: Sequence[int]) -> str:
        """The words of a reply. As published: without the last 4 characters, whatever they are."""
        if self._settings.published_quirks:
            return self.tokenizer.decode(ids)[:-4]
        words = [i for i in ids if i not in self.tokenizer.special]
        if words and words[-1] == self.tokenizer.terminator:
            words.pop()
        return self.tokenizer.decode(words).lstrip()

    def longest_round(self, vision_tokens: int) -> list[Segment]:
        """A round at its longest, for sizing the memory; `vision_tokens` in its frames."""
        grid = (1, 1, vision_tokens) if vision_tokens else None
        latest = min(LONGEST_TIME - self._settings.chunk_seconds, self._period)
        user = [
            replace(s, ids=self._time(latest)) if s.role is Role.TIME else s
            for s in self.round(0, 0, grid, opening=False)
        ]
        reply = self.reply(0, [self.tokenizer.video_pad] * self._settings.max_new_tokens)
        return [*user, self.ended(reply)]

    @property
    def _period(self) -> float:
        """Seconds after which the time in headers begins again, on whole rounds."""
        settings = self._settings
        if settings.time_origin == 'stream':
            return math.inf
        rounds = math.floor(settings.time_range / settings.chunk_seconds + 1e-6)
        return max(rounds, 1) * settings.chunk_seconds

    def _wrapped(self, start: float) -> float:
        """The start in the header of a round that starts at `start` seconds of stream."""
        # A start that lacks what summing up fractions of seconds loses begins a period too.
        periods = math.floor(start / self._period + 1e-6)
        return max(0.0, start - periods * self._period) if periods else start

    def _time(self, start: float) -> tuple[int, ...]:
        end = start + self._settings.chunk_seconds
        return self.tokenizer.encode(f'Time={start:.1f}-{end:.1f}s')

    def _vision(
        self, number: int, grid: Grid | None, seconds: tuple[float, float]
    ) -> list[Segment]:
        if grid is None:
            return []
        code, count = self.tokenizer, grid[0] * grid[1] * grid[2]
        ids = (code.vision_start, *[code.video_pad] * count, code.vision_end)
        return [Segment(Role.VISION, ids, number, grid, seconds)]

    def _turn(self, header: str, text: str) -> tuple[int, ...]:
        code = self.tokenizer
        ids = (code.turn_start, *code.encode(header), *code.encode(text), code.turn_end)
        return ids + self._newline

    def _previous_text(self) -> list[Segment]:
        code, header, settings = self.tokenizer, 'previous text\n', self._settings
        opened = (code.turn_start, *code.encode(header))
        content = code.encode(settings.previous_text)
        if settings.published_quirks:
            joined = code.encode(header + settings.previous_text)
            if joined[: len(opened) - 1] != opened[1:]:
                raise SettingsError(
                    'previous_text begins with a line feed, which breaks the published layout: '
                    'remove it, or use preset robot'
                )
            content = joined[len(opened) - 1 :]
        elif settings.text_sink is not None and settings.text_window is not None:
            surplus = len(content) - settings.text_sink - settings.text_window
            if surplus > 0:
                sink = settings.text_sink
                content = content[:sink] + content[sink + surplus :]
        return [
            Segment(Role.PREVIOUS_OPEN, opened),
            Segment(Role.PREVIOUS, content),
            Segment(Role.PREVIOUS_CLOSE, (code.turn_end, *self._newline)),
        ]

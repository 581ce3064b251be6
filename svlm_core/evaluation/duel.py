# SPDX-License-Identifier: Apache-2.0
"""Two caption files before a judge: votes window by window, and the win rate with its interval.

What cannot be judged is counted, never left out in silence: windows that one side was not shown,
and votes that the judge did not give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svlm_core.endpoints.asking import Answer
from svlm_core.errors import SourceError
from svlm_core.evaluation.bootstrap import Interval, ratio_interval
from svlm_core.evaluation.identity import RUN, account, digest, file_hash
from svlm_core.evaluation.judging import Judge, Ruling, Vote, both_orders
from svlm_core.evaluation.windows import Captions, Window, bout, row_files
from svlm_core.timeline import write_lines, write_whole


@dataclass(frozen=True)
class Score:
    """The two rulings on a window: vote 1 is for A, 0 for B; `ab` when A was shown first."""

    window: Window
    ab: Ruling
    ba: Ruling

    @property
    def votes(self) -> list[float]:
        """The valid votes."""
        return [ruling.vote for ruling in (self.ab, self.ba) if ruling.vote is not None]

    @property
    def answers(self) -> dict[str, Answer[float]]:
        """What a model answered, by order; it was not asked where one side said nothing."""
        found = {'ab': self.ab.answer, 'ba': self.ba.answer}
        return {order: answer for order, answer in found.items() if answer is not None}

    @property
    def for_a(self) -> float:
        """How many of them A has; a draw is half a vote for each side."""
        return sum(self.votes)

    @property
    def for_b(self) -> float:
        """How many of them B has."""
        return len(self.votes) - self.for_a

    @property
    def invalid(self) -> int:
        """How many votes the judge did not give."""
        return 2 - len(self.votes)

    def to_json(self, judge: str, run: str) -> dict[str, Any]:
        """The row of this window, as published, and the digest of the run that it is of.

        What a model answered, word by word, is in `said` of its judge.
        """
        a, b = self.for_a, self.for_b
        by = {'model': judge, 'vote_ab': _letter(self.ab.vote), 'vote_ba': _letter(self.ba.vote)}
        said = {order: _said(answer) for order, answer in self.answers.items()}
        return {
            'video': self.window.video,
            'title': self.window.title,
            'start': self.window.start,
            'end': self.window.end,
            'winner': 'A' if a > b else 'B' if b > a else 'equal',
            'votes': {'A': a, 'B': b},
            'judge': {**by, 'said': said} if said else by,
            **{name: value for name, value in self._kept().items() if value},
            'run': run,
        }

    def _kept(self) -> dict[str, str]:
        """Where the window belongs, as far as anything says so."""
        return {'category': self.window.category, 'event': self.window.event}


Counted = Callable[[Score], tuple[float, int]]  # what counts for A, of how many votes


@dataclass(frozen=True)
class Result:
    """All scores, and the windows that at least one side was not shown."""

    scores: tuple[Score, ...]
    not_shown: tuple[Window, ...]

    def rate(self, seed: int) -> tuple[float, Interval]:
        """The share of valid votes that A has, and its 95 % interval, videos being drawn."""
        return self._share(_valid, seed)

    def won(self, seed: int) -> tuple[float, Interval]:
        """The share of votes for A of all that were asked for, and its interval, as `rate` has it.

        This is what LiveSports-3K counts: draws and invalid votes are not won.
        """
        return self._share(_asked, seed)

    def reported(self) -> dict[str, list[str]]:
        """What servers call the models that judged, and the parameters that they do not take."""
        answers = [answer for score in self.scores for answer in score.answers.values()]
        return {
            'models': sorted({answer.model for answer in answers} - {''}),
            'dropped': sorted({name for answer in answers for name in answer.dropped}),
        }

    def summary(self, seed: int) -> dict[str, Any]:
        """Win rates per video and of all, as published, and all that was not judged."""
        rate, interval = self.rate(seed)
        for_a, votes = self._sums(_valid)
        return {
            'per_video': {
                video: _rates(for_a[video] / votes[video] if votes[video] else None)
                | {'votes': votes[video]}
                for video in for_a
            },
            'global': {
                **_rates(None if rate != rate else rate),
                'interval_A': None if rate != rate else list(interval),
                'windows': len(self.scores),
                'votes': sum(votes.values()),
                'invalid_votes': sum(score.invalid for score in self.scores),
                'judge_reported': self.reported(),
                'windows_not_shown': [
                    {'video': w.video, 'start': w.start, 'end': w.end} for w in self.not_shown
                ],
            },
        }

    def _share(self, counted: Counted, seed: int) -> tuple[float, Interval]:
        for_a, votes = self._sums(counted)
        total = sum(votes.values())
        share = sum(for_a.values()) / total if total else float('nan')
        return share, ratio_interval(list(for_a.values()), list(votes.values()), seed)

    def _sums(self, counted: Counted) -> tuple[dict[str, float], dict[str, int]]:
        """What counts for A, and of how many votes, by video."""
        for_a, votes = dict[str, float](), dict[str, int]()
        for score in self.scores:
            video, (won, of) = score.window.video, counted(score)
            for_a[video] = for_a.get(video, 0) + won
            votes[video] = votes.get(video, 0) + of
        return for_a, votes


def _valid(score: Score) -> tuple[float, int]:
    return score.for_a, len(score.votes)


def _asked(score: Score) -> tuple[float, int]:
    return score.votes.count(1), 2


def duel(
    windows: Sequence[Window],
    first: Mapping[str, Captions],
    second: Mapping[str, Captions],
    judge: Judge,
    workers: int = 1,
    moved: Callable[[int], None] = lambda done: None,
) -> Result:
    """Put every window to the judge in both orders; `moved` is told how many are done.

    Raises SourceError when there is no window that both were shown, and what the judge raises.
    """
    shown = [w for w in windows if _covers(first, w) and _covers(second, w)]
    if not shown:
        raise SourceError('there is no window of the references that both sides were shown')
    scores = list[Score]()
    with ThreadPoolExecutor(workers) as pool:

        def vote(window: Window) -> Score:
            pair = bout(window, first[window.subject], second[window.subject])
            return Score(window, *both_orders(judge, pair))

        for score in pool.map(vote, shown):
            scores.append(score)
            moved(len(scores))
    judged = set(shown)
    return Result(tuple(scores), tuple(w for w in windows if w not in judged))


def write_results(folder: Path, result: Result, made: Mapping[str, Any]) -> dict[str, Any]:
    """Write scores.jsonl and summary.json, with how they were made; the summary."""
    rows = (score.to_json(made['judge'], digest(made)) for score in result.scores)
    write_lines(folder / 'scores.jsonl', rows)
    summary = {**result.summary(made['seed']), 'made': made}
    write_whole(folder / 'summary.json', json.dumps(summary, ensure_ascii=False, indent=2) + '\n')
    return summary


def source_of(path: Path) -> dict[str, Any]:
    """A file or folder of files by name and content; `made` is how, where a folder tells.

    Raises SourceError.
    """
    made = account(path / RUN)
    return {'name': path.name, 'sha256': file_hash(row_files(path)), 'made': made}


def _covers(captions: Mapping[str, Captions], window: Window) -> bool:
    return window.subject in captions and captions[window.subject].covers(window)


def _said(answer: Answer[float]) -> dict[str, Any]:
    """An answer in a row; what is empty is left out."""
    content = {
        'model': answer.model,
        'dropped': list(answer.dropped),
        'replies': list(answer.replies),
        'outcome': answer.outcome,
        'problem': answer.problem,
    }
    return {name: value for name, value in content.items() if value}


def _letter(vote: Vote) -> str | None:
    return None if vote is None else {1.0: 'A', 0.0: 'B'}.get(vote, 'equal')


def _rates(a: float | None) -> dict[str, float | None]:
    return {'win_rate_A': a, 'win_rate_B': None if a is None else 1 - a}

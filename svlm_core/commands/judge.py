# SPDX-License-Identifier: Apache-2.0
"""`svlm judge`: which of two caption files is better, by a model or by counting."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from svlm_core.commands.endpoint_flags import EndpointFlags
from svlm_core.errors import SettingsError


@dataclass(frozen=True)
class Judge:
    """Tell which of two caption files is better.

    Every window of the references is judged twice, A before B and B before A. With --base-url a
    model judges; without, words and events that agree with the references are counted, which
    needs no network. The win rate comes with a bootstrap 95 % interval over videos; votes that a
    model does not give are counted as such. A run that was stopped goes on where it was. What
    `svlm caption VIDEOS --output DIR` wrote is in DIR/caption.

      svlm judge ours.jsonl theirs.jsonl --references clips.jsonl --output judged
      svlm judge A B --references FILE --output DIR --base-url http://HOST/v1 --model NAME
    """

    a: Annotated[Positional[Path], arg(help='captions: .jsonl, or a folder of them', metavar='A')]
    b: Annotated[Positional[Path], arg(help='captions to compare with', metavar='B')]
    references: Annotated[
        Path, arg(help='windows (score_all_clips), or words of whole videos', metavar='FILE')
    ]
    output: Annotated[Path, arg(help='folder for scores.jsonl, summary.json', metavar='DIR')]
    endpoint: Annotated[EndpointFlags, arg(name='')] = field(default_factory=EndpointFlags)
    segment: int = 100  # seconds of a window, where references are words of whole videos
    min_words: int = 200  # words that such a window must have
    workers: int = 4  # requests at a time
    seed: int = 0  # draws of the bootstrap

    def run(self) -> int:
        """Judge, print the summary, and return the exit status. Raises SvlmError."""
        if self.segment < 1 or self.min_words < 0 or self.workers < 1 or self.seed < 0:
            raise SettingsError('give at least --segment 1 --min-words 0 --workers 1 --seed 0')
        from svlm_core.commands.console import errors, progress
        from svlm_core.evaluation.duel import duel, source_of, write_results
        from svlm_core.evaluation.identity import begin_folder, revision, versions
        from svlm_core.evaluation.judges import TASK, by_agreement, by_model
        from svlm_core.evaluation.windows import read_captions, read_windows

        asked = bool(self.endpoint.base_url)
        name = self.endpoint.model if asked else 'agreement of words and events'
        made = {
            'a': source_of(self.a),
            'b': source_of(self.b),
            'references': source_of(self.references),
            'judge': name,
            'base_url': self.endpoint.base_url,
            'task': TASK if asked else '',
            'segment': self.segment,
            'min_words': self.min_words,
            'seed': self.seed,
            'versions': versions(),
            'revision': revision(),
        }
        windows = read_windows(self.references, self.segment, self.min_words)
        videos = [window.video for window in windows]
        sides = [read_captions(path, videos) for path in (self.a, self.b)]
        judge = by_model(self.endpoint.chat(self.output / 'replies')) if asked else by_agreement
        begin_folder(self.output, made)
        with progress(errors(), len(windows)) as moved:
            result = duel(
                windows,
                sides[0],
                sides[1],
                judge,
                self.workers if asked else 1,
                lambda done: moved(done, f'{done} of {len(windows)} windows'),
            )
        summary = write_results(self.output, result, made)
        print('\n'.join(_told(summary)), flush=True)
        return 0


def _told(summary: dict) -> list[str]:
    """What there is to say of a summary."""
    of = summary['global']
    if of['win_rate_A'] is None:
        rate = 'no valid vote'
    else:
        low, high = of['interval_A']
        rate = (
            f'A wins {of["win_rate_A"]:.2%} of the votes (95 % interval {low:.2%} to {high:.2%})'
        )
    left = len(of['windows_not_shown'])
    return [
        rate,
        f'{of["windows"]} windows of {len(summary["per_video"])} videos, {of["votes"]:g} votes, '
        f'{of["invalid_votes"]} invalid',
        *[f'{left} windows not judged: one side was not shown all of them'] * bool(left),
        f'judge: {summary["made"]["judge"]}',
    ]

# SPDX-License-Identifier: Apache-2.0
"""The benchmarks by name."""

from __future__ import annotations

from svlm_core.errors import SettingsError
from svlm_core.evaluation.vqa import (
    longvideobench,
    mvbench,
    ovobench,
    streamingbench,
    videomme,
)
from svlm_core.evaluation.vqa.protocol import Benchmark, Rules

BENCHMARKS: dict[str, Benchmark] = {
    'mvbench': mvbench.BENCHMARK,
    'videomme': videomme.BENCHMARK,
    'longvideobench': longvideobench.BENCHMARK,
    'ovobench': ovobench.BENCHMARK,
    'streamingbench': streamingbench.BENCHMARK,
}


def choose(name: str, protocol: str, subtitles: bool) -> tuple[Benchmark, Rules]:
    """A benchmark and its protocol. Raises SettingsError for what there is not."""
    benchmark = BENCHMARKS[name]
    if protocol not in benchmark.rules:
        raise SettingsError(f'the paper has no {benchmark.name}: use --protocol official')
    if subtitles and not benchmark.subtitles:
        raise SettingsError(f'{benchmark.name} is asked without subtitles: leave them out')
    return benchmark, benchmark.rules[protocol]

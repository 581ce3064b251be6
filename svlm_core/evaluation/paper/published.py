# SPDX-License-Identifier: Apache-2.0
"""What the paper says (arXiv 2510.09608 v2): numbers by item, row and column, as facts to compare.

Win rates and accuracies are in percent, times in milliseconds a token. The paper has no intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GPT, LIVECC, LIVECC_ALL = 'GPT-4o†', 'LiveCC†', 'LiveCC∞'  # on Inf-Streams-Eval
EVENTS = ('LLaVA', 'GPT-4o', 'Gemini', 'LiveCC')  # on LiveSports-3K
GAMES = (GPT, LIVECC, LIVECC_ALL)
EXAMS = ('MVBench', 'Video-MME', 'LongVideoBench', 'OVO-Bench real-time')
PARTS = ('0-20 %', '20-40 %', '40-60 %', '60-80 %', '80-100 %')
MOMENTS = ('start', 'least', 'median', 'most', 'end')

Values = Mapping[str, Mapping[str, float]]  # by row and column


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Values:
    return {
        label: {
            column: value
            for column, value in zip(columns, values, strict=True)
            if value is not None
        }
        for label, values in rows.items()
    }


_NONE = (None, None, None)
_OURS = (66.18, 87.81, 99.12)

PUBLISHED: dict[str, Values] = {
    'table-1': _table(
        (*GAMES, *EVENTS),
        {
            'Qwen2.5-VL-7B-Instruct†': (0.01, 20.44, 95.97, 24.50, 16.25, 28.38, 34.11),
            'LiveCC-7B-Instruct†': (15.73, *_NONE, *_NONE),
            'LiveCC-7B-Instruct∞': (1.82, None, None, 41.50, 40.06, 39.73, None),
            'StreamingVLM∞': (*_OURS, 47.33, 45.59, 44.21, 56.19),
        },
    ),
    'table-2': _table(
        GAMES,
        {
            'Qwen + ReKV∞': (0.00, 19.56, 63.57),
            'StreamingVLM + ReKV∞': (0.00, 0.00, 0.00),
            'StreamingVLM∞': _OURS,
        },
    ),
    'table-3': _table(
        EXAMS,
        {
            'Qwen2.5-VL-7B-Instruct': (67.34, 65.10, 54.70, 56.00),
            'StreamingVLM': (69.16, 65.10, 59.00, 61.96),
        },
    ),
    'table-4': _table(
        GAMES,
        {
            'native†': (63.23, 74.00, 98.07),
            'native∞': (25.09, 59.42, 60.32),
            'contiguous∞': _OURS,
        },
    ),
    'table-5-left': _table(
        GAMES,
        {
            'sink 512, window 0': (69.68, 89.42, 99.19),
            'sink 0, window 512': (66.76, 86.03, 98.69),
            'sink 256, window 256': (70.17, 91.79, 99.62),
            'sink 1024, window 1024': (71.43, 91.69, 99.84),
            'sink ∞, window ∞, trained so': (60.41, 72.08, 98.55),
            'sink 512, window 512': (73.64, 92.33, 99.38),
        },
    ),
    'table-5-right': _table(
        GAMES,
        {
            '0 s': (52.90, 77.49, 97.56),
            '1 s': (63.46, 83.24, 98.18),
            '4 s': (66.08, 83.86, 98.73),
            '8 s': (65.66, 85.09, 99.14),
            '16 s': (66.18, 87.81, 99.38),
            '32 s': (65.49, 85.58, 99.06),
        },
    ),
    'table-6': _table(
        (*GAMES, *EVENTS, *EXAMS),
        {
            'Qwen2.5-VL-7B-Instruct†': (
                0.01, 20.44, 95.97, 24.50, 16.25, 28.38, 34.11, 67.34, 65.10, 54.70, 56.00,
            ),
            '+ Live-WhisperX-526K∞': (
                32.17, 56.52, 99.05, 42.77, 41.86, 39.37, 47.80, 63.71, 62.10, 54.30, 57.69,
            ),
            '+ Inf-Streams-Train∞': (
                63.46, 83.82, 98.95, 46.45, 45.48, 44.27, 53.07, 68.66, 64.90, 59.00, 60.55,
            ),
            '+ annealing∞': (*_OURS, 47.33, 45.59, 44.39, 56.19, 69.16, 65.10, 59.00, 61.96),
        },
    ),
    'table-7': _table(
        (GPT, *EVENTS, *EXAMS),
        {
            'non-overlapping∞': (62.51, 46.24, 45.08, 43.21, 56.19, 68.79, 65.50, 58.90, 59.20),
            'overlapped∞': (66.18, 47.33, 45.59, 44.39, 56.19, 69.16, 65.10, 59.00, 61.96),
        },
    ),
    'table-8': _table(
        GAMES,
        {
            'sink 64': (72.04, 90.32, 99.46),
            'sink 128': (73.65, 92.94, 99.47),
            'sink 256': (73.73, 93.28, 99.38),
            'sink 512': (73.64, 92.33, 99.38),
            'sink 1024': (74.82, 93.51, 99.53),
        },
    ),
    'fig-1': _table(
        (GPT,),
        {
            '(a) full attention, O(T²)': (3.89,),
            '(b) window without overlap, O(TW)': (23.54,),
            '(c) window with overlap, O(TW²)': (66.54,),
            '(d) StreamingVLM, O(TW)': (66.18,),
        },
    ),
    'fig-6': _table(
        (GPT,),
        {
            f'{name}, {chunk}': (value,)
            for name, values in (
                ('StreamingVLM', (66.5, 68.4, 66.8, 67.4, 66.2)),
                ('LiveCC', (8.4, 13.2, 15.7, 4.0, 1.8)),
            )
            for chunk, value in zip(('25 s', '50 s', '100 s', '500 s', '∞'), values, strict=True)
        },
    ),
    'fig-7': _table(
        MOMENTS,
        {
            '(a) full attention': (40, None, None, None, 490),
            '(b) window without overlap': (40, None, None, 175, None),
            '(c) window with overlap': (None, 250, None, 410, None),
            '(d) StreamingVLM': (None, None, 50, None, None),
        },
    ),
    'fig-8': _table(
        PARTS,
        {
            '(a) full attention': (15.2, 3.1, 1.1, 0.0, 0.0),
            '(b) window without overlap': (23.1, 24.1, 24.2, 23.2, 23.1),
            '(c) window with overlap': (68.5, 65.7, 65.4, 66.7, 66.5),
            '(d) StreamingVLM': (66.4, 64.3, 67.5, 66.8, 66.0),
        },
    ),
}  # fmt: skip

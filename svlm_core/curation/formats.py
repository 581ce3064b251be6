# SPDX-License-Identifier: Apache-2.0
"""The files of the field: what each format is called, and what its rows look like.

A file is known by the fields of its first row. Rows of training (LiveCC, Inf-Stream-Train) and
captions of svlm have readers of their own; validation asks those.
"""

from __future__ import annotations

from dataclasses import dataclass

from svlm_core.shapes import (
    ByField,
    Either,
    Flag,
    Listed,
    Number,
    OrNone,
    Shape,
    Span,
    Table,
    Text,
)

NAME = Either((Text(filled=True), Number(whole=True)))  # of a video or a question
SECONDS = Number(low=0)
CLOCK = Text(filled=True, pattern=r'(\d+:)?\d{1,2}:\d\d([.,]\d+)?')
TEXTS = Listed(Text(), least=1)

ANSWER_FILE = Table(
    {
        'video': Text(filled=True),
        'chunk_start': SECONDS,
        'chunk_end': SECONDS,
        'items': Listed(
            Table({'response': Text(), 'start_time': SECONDS, 'end_time': SECONDS}),
        ),
    }
)
PREDICTION_FILE = Table(
    {'video_id': NAME, 'event_id': NAME, 'begin': SECONDS, 'end': SECONDS, 'pred': Text()}
)
TIMED_TEXT = Either((Listed(Span(ordered=False)), Text()))  # a list, or that list as text
EVENT_FILE = Table(
    {
        'video': Text(filled=True),
        'video_id': NAME,
        'event_id': NAME,
        'begin': SECONDS,
        'end': SECONDS,
        'event_title': Text(),
        'preasr_text': Text(),
        'event_asr_text': Text(),
    },
    {'class': Text(), 'event_asr': TIMED_TEXT},
)
VOTE = OrNone(Text(choices=('A', 'B', 'equal')))
SAID = Table(  # what a judge answered, as svlm keeps it
    {'replies': TEXTS, 'outcome': Text(choices=('ok', 'refused', 'invalid'))},
    {'model': Text(), 'dropped': TEXTS, 'problem': Text()},
)
WORDS_FILE = Table({'video': Text(filled=True), 'content': Listed(Span())}, {'title': Text()})
CLIPS_FILE = Table(
    {
        'video': Text(filled=True),
        'title': Text(),
        'content': Listed(Span(), least=1),
        'preasr': Text(),
    }
)

_OVO: dict[str, Shape] = {'id': NAME, 'task': Text(), 'video': Text(filled=True)}
_OVO_CHOICE = Table(
    {
        **_OVO,
        'realtime': SECONDS,
        'question': Text(filled=True),
        'options': TEXTS,
        'gt': Number(low=0, whole=True),
        'answer': Text(),
    }
)
_OVO_TIMES = Listed(SECONDS)
_OVO_COUNT = Table(
    {
        **_OVO,
        'activity': Text(filled=True),
        'start_times': _OVO_TIMES,
        'end_times': _OVO_TIMES,
        'test_info': Listed(Table({'realtime': SECONDS, 'count': Number(low=0, whole=True)})),
    }
)
_OVO_STEPS = Table(
    {
        **_OVO,
        'tutorial': Text(filled=True),
        'all_steps': Listed(Text()),
        'start_time': _OVO_TIMES,
        'end_time': _OVO_TIMES,
        'test_info': Listed(
            Table({'realtime': SECONDS, 'step': Text(), 'type': Number(whole=True)})
        ),
    }
)
_OVO_CLUE = Table(
    {
        **_OVO,
        'question': Text(filled=True),
        'answer': Text(),
        'ask_time': SECONDS,
        'clue_time': SECONDS,
        'test_info': Listed(Table({'realtime': SECONDS, 'type': Number(whole=True)})),
    }
)
_LVB: dict[str, Shape] = {
    'video_id': Text(filled=True),
    'id': Text(filled=True),
    'video_path': Text(filled=True),
    'subtitle_path': Text(),
    'question': Text(filled=True),
    'duration': SECONDS,
    'duration_group': Number(low=0, whole=True),
    'question_category': Text(),
    'topic_category': Text(),
    'starting_timestamp_for_subtitles': SECONDS,
}
CLOCK_OR_SECONDS = Either((SECONDS, CLOCK))
_LVB_CHOICE: dict[str, Shape] = {'correct_choice': Number(whole=True)}  # the test set has none
_ASKED: dict[str, Shape] = {
    'task_type': Text(),
    'question': Text(filled=True),
    'time_stamp': CLOCK,
}
_PROACTIVE = Table({**_ASKED, 'ground_truth_time_stamp': CLOCK, 'ground_truth_output': Text()})
_STREAMING = Table(
    {**_ASKED, 'answer': Text(filled=True), 'options': Listed(Text()), 'required_ability': Text()}
)


@dataclass(frozen=True)
class Format:
    """A format: `marks` are fields of a row by which it is known, `rows` is what each must be."""

    name: str
    title: str
    marks: tuple[str, ...]
    rows: Shape


# Where the marks of several are there, the first one is meant.
FORMATS = (
    Format('answers', 'answers of Inf-Streams-Eval', ('video', 'items'), ANSWER_FILE),
    Format('clips', 'windows that are judged', ('video', 'content', 'preasr'), CLIPS_FILE),
    Format('words', 'words of whole videos', ('video', 'content'), WORDS_FILE),
    Format(
        'scores',
        'judged windows',
        ('video', 'winner', 'votes'),
        Table(
            {
                'video': Text(filled=True),
                'title': Text(),
                'start': SECONDS,
                'end': SECONDS,
                'winner': Text(choices=('A', 'B', 'equal')),
                'votes': Table({'A': Number(low=0), 'B': Number(low=0)}),
                'judge': Table(
                    {'model': Text(), 'vote_ab': VOTE, 'vote_ba': VOTE},
                    {'said': Table({}, {'ab': SAID, 'ba': SAID})},
                ),
            }
        ),
    ),
    Format(
        'livesports-cc',
        'events of LiveSports-3K',
        ('video_id', 'event_id', 'event_asr_text'),
        EVENT_FILE,
    ),
    Format(
        'livesports-predictions',
        'captions of LiveSports-3K',
        ('video_id', 'event_id', 'pred'),
        PREDICTION_FILE,
    ),
    Format(
        'livesports-votes',
        'votes of LiveSports-3K',
        ('video_event_id', 'ab_winner', 'ba_winner'),
        Table({'video_event_id': Text(filled=True), 'ab_winner': Text(), 'ba_winner': Text()}),
    ),
    Format(
        'livesports-qa',
        'questions of LiveSports-3K',
        ('video_id', 'question_id', 'q_type'),
        Table(
            {
                'video_id': NAME,
                'question_id': NAME,
                'q_type': Text(),
                'OCR': Either((Flag(), Number(whole=True), Text())),
                'question': Text(filled=True),
                'options': TEXTS,
                'answer': Text(filled=True),
            }
        ),
    ),
    Format(
        'ovo-bench',
        'OVO-Bench',
        ('id', 'task', 'video'),
        ByField(
            'task',
            dict.fromkeys('EPM HLD ASI OJR STU OCR ATR ACR FPD'.split(), _OVO_CHOICE)
            | {'REC': _OVO_COUNT, 'SSR': _OVO_STEPS, 'CRR': _OVO_CLUE},
        ),
    ),
    Format(
        'mvbench',
        'MVBench',
        ('video', 'question', 'candidates', 'answer'),
        Table(
            {
                'video': Text(filled=True),
                'question': Text(filled=True),
                'candidates': TEXTS,
                'answer': Text(filled=True),
            },
            {'start': SECONDS, 'end': SECONDS},
        ),
    ),
    Format(
        'video-mme-results',
        'results of Video-MME',
        ('video_id', 'questions'),
        Table(
            {
                'video_id': NAME,
                'duration': Text(('short', 'medium', 'long')),
                'domain': Text(),
                'sub_category': Text(),
                'questions': Listed(
                    Table(
                        {
                            'question_id': Text(filled=True),
                            'task_type': Text(),
                            'question': Text(filled=True),
                            'options': TEXTS,
                            'answer': Text(('A', 'B', 'C', 'D')),
                            'response': Text(),
                        }
                    )
                ),
            }
        ),
    ),
    Format(
        'video-mme',
        'Video-MME',
        ('video_id', 'videoID', 'question_id'),
        Table(
            {
                'video_id': NAME,
                'duration': Text(('short', 'medium', 'long')),
                'domain': Text(),
                'sub_category': Text(),
                'url': Text(),
                'videoID': Text(filled=True),
                'question_id': Text(filled=True),
                'task_type': Text(),
                'question': Text(filled=True),
                'options': Listed(Text(pattern=r'(?s)[A-D]\. .*'), least=2),
                'answer': Text(('A', 'B', 'C', 'D')),
            }
        ),
    ),
    Format(
        'longvideobench',
        'LongVideoBench',
        ('video_id', 'video_path', 'candidates'),
        Table({**_LVB, 'candidates': TEXTS}, _LVB_CHOICE),
    ),
    Format(
        'longvideobench-flat',
        'LongVideoBench from the Hub',
        ('video_id', 'video_path', 'option0'),
        Table({**_LVB, **{f'option{number}': Text() for number in range(5)}}, _LVB_CHOICE),
    ),
    Format(
        'longvideobench-subtitles',
        'subtitles of LongVideoBench',
        ('line',),
        Table({'start': CLOCK_OR_SECONDS, 'end': CLOCK_OR_SECONDS, 'line': Text()}),
    ),
    Format(
        'longvideobench-subtitles',
        'subtitles of LongVideoBench',
        ('timestamp', 'text'),
        Table({'timestamp': Listed(OrNone(SECONDS), least=2), 'text': Text()}),
    ),
    Format(
        'streamingbench',
        'StreamingBench',
        ('time', 'video_path', 'questions'),
        Table(
            {
                'time': Text(),
                'video_path': Text(filled=True),
                'video_categories': Text(),
                'questions': Listed(Either((_PROACTIVE, _STREAMING))),
            }
        ),
    ),
)

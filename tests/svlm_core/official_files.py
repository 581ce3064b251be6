# SPDX-License-Identifier: Apache-2.0
"""Small folders as the authors of the benchmarks publish them, every field in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np

LETTER = 'Respond only with the letter'


def picture(second: int, size: int = 64) -> np.ndarray:
    """What a second of a film looks like (size, size, 3): a brightness of its own."""
    return np.full((size, size, 3), 20 * (second + 1), np.uint8)


def second_of(frame: np.ndarray) -> int:
    """The second of a film that a frame (h, w, 3) shows."""
    return round(float(frame.mean()) / 20) - 1


def film(path: Path, seconds: int, fps: int = 4) -> Path:
    """A video of up to 12 seconds, each of its own brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '4'})
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        for index in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(picture(index // fps), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frame_folder(path: Path, seconds: int) -> Path:
    """The same as a folder of images, 3 a second."""
    path.mkdir(parents=True)
    for number in range(seconds * 3):
        context = av.CodecContext.create('png', 'w')
        context.width = context.height = 64
        context.pix_fmt = 'rgb24'
        frame = av.VideoFrame.from_ndarray(picture(number // 3), format='rgb24')
        packets = [*context.encode(frame), *context.encode(None)]
        (path / f'{number + 1:05d}.png').write_bytes(b''.join(map(bytes, packets)))
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


MVBENCH = {
    'object_existence': [
        {
            'video': 'video_10009.mp4',
            'question': 'Are there any moving green objects when the video ends?',
            'candidates': ['not sure', 'yes', 'no'],
            'answer': 'no',
        }
    ],
    'action_sequence': [
        {
            'video': 'ZS9XR.mp4',
            'question': 'What happened after the person took the food?',
            'candidates': ['Ate the medicine.', 'Tidied up the blanket.', 'Put down the cup.'],
            'answer': 'Ate the medicine.',
            'start': 1.5,
            'end': 4.0,
            'question_id': 'Interaction_T1_13',
        }
    ],
    'episodic_reasoning': [
        {
            'video': 'friends_s01e01_seg02_clip_05',
            'question': 'What was Monica doing?',
            'candidates': ['Cooking.', 'Sleeping.', 'Singing.', 'Reading.', 'Waiting.'],
            'answer': 'Sleeping.',
            'start': 0,
            'end': 3.0,
        }
    ],
}


def mvbench(folder: Path) -> Path:
    for task, rows in MVBENCH.items():
        write(folder / 'json' / f'{task}.json', rows)
    film(folder / 'video/clevrer/video_validation/video_10009.mp4', 3)
    film(folder / 'video/data0613/star/Charades_v1_480/ZS9XR.mp4', 5)
    frame_folder(folder / 'video/tvqa/frames_fps3_hq/friends_s01e01_seg02_clip_05', 4)
    return folder


VIDEOMME = [
    {
        'video_id': '001',
        'duration': 'short',
        'domain': 'Knowledge',
        'sub_category': 'Humanity & History',
        'url': 'https://www.example.org/watch?v=fFjv93ACGo8',
        'videoID': 'fFjv93ACGo8',
        'question_id': f'001-{number}',
        'task_type': task,
        'question': question,
        'options': [f'{letter}. {option}' for letter, option in zip('ABCD', options, strict=True)],
        'answer': answer,
    }
    for number, (task, question, options, answer) in enumerate(
        [
            (
                'Counting Problem',
                'How many apples hang on the tree?',
                ['Two.', 'Three.', 'Four.', 'Five.'],
                'C',
            ),
            (
                'Object Reasoning',
                'What is the tree made of?',
                ['Wood.', 'Glass.', 'Wire.', 'Paper.'],
                'A',
            ),
        ],
        1,
    )
]
SRT = """1
00:00:00,500 --> 00:00:02,600
When you see
<i>these four trees</i>

2
00:00:04,100 --> 00:00:04,900
what comes to mind?
"""


def videomme(folder: Path) -> Path:
    write(folder / 'videomme.json', VIDEOMME)
    film(folder / 'video/fFjv93ACGo8.mp4', 6)
    (folder / 'subtitle').mkdir()
    (folder / 'subtitle/fFjv93ACGo8.srt').write_text(SRT)
    return folder


def videomme_nested() -> list[dict]:
    """The same questions in the file in which results are handed in."""
    shared = ('video_id', 'duration', 'domain', 'sub_category')
    asked = ('question_id', 'task_type', 'question', 'options', 'answer')
    video = {name: VIDEOMME[0][name] for name in shared}
    return [
        video | {'questions': [{n: row[n] for n in asked} | {'response': ''} for row in VIDEOMME]}
    ]


LONGVIDEOBENCH = [
    {
        'video_id': '86CxyhFV9MI',
        'id': '86CxyhFV9MI_0',
        'video_path': '86CxyhFV9MI.mp4',
        'subtitle_path': '86CxyhFV9MI_en.json',
        'question': 'In the video, which subtitles appear with the man in black?',
        'question_wo_referring_query': 'Which subtitles appear?',
        'candidates': ['promisc has come to an end', 'run for the subject', 'i had to', 'none'],
        'correct_choice': 1,
        'position': [854, 1200],
        'topic_category': 'NP-News-Programs',
        'question_category': 'TOS',
        'level': 'L2-Relation',
        'duration_group': 600,
        'starting_timestamp_for_subtitles': 0,
        'duration': 190.16,
        'view_count': 259852,
    }
]


def longvideobench(folder: Path) -> Path:
    write(folder / 'lvb_val.json', LONGVIDEOBENCH)
    film(folder / 'videos/86CxyhFV9MI.mp4', 6)
    return folder


OVOBENCH = [
    {
        'id': 0,
        'task': 'EPM',
        'video': 'Ego4D/clip_a.mp4',
        'realtime': 5,
        'question': 'Where was the apple before I took it?',
        'options': ['On the table', 'In the bag', 'On the floor', 'In the fridge'],
        'gt': 1,
        'answer': 'In the bag',
    },
    {
        'id': 1,
        'task': 'OCR',
        'video': 'Ego4D/clip_a.mp4',
        'realtime': 3.5,
        'question': 'What does the sign say?',
        'options': ['Exit', 'Stop', 'Open'],
        'gt': 0,
        'answer': 'Exit',
    },
    {
        'id': 2,
        'task': 'REC',
        'video': 'perception_test/clip_b.mp4',
        'activity': 'put an item in the box',
        'start_times': [1, 3],
        'end_times': [2, 4],
        'test_info': [{'realtime': 1, 'count': 0}, {'realtime': 4, 'count': 12}],
    },
    {
        'id': 3,
        'task': 'SSR',
        'video': 'coin/clip_b.mp4',
        'tutorial': 'Change a tyre',
        'all_steps': ['unscrew the screws', 'jack up the car'],
        'start_time': [0, 3],
        'end_time': [2, 5],
        'test_info': [{'realtime': 2, 'step': 'unscrew the screws', 'type': 1}],
    },
    {
        'id': 4,
        'task': 'CRR',
        'video': 'movie/clip_b.mp4',
        'question': 'Who opens the door?',
        'answer': 'The janitor.',
        'ask_time': 2,
        'clue_time': 4,
        'test_info': [{'realtime': 3, 'type': 0}, {'realtime': 5, 'type': 1}],
    },
]


def ovobench(folder: Path) -> Path:
    write(folder / 'ovo_bench_new.json', OVOBENCH)
    for name in sorted({row['video'] for row in OVOBENCH}):
        film(folder / 'src_videos' / name, 6)
    return folder


def _streaming(time: str, video: str, *questions: dict) -> dict:
    return {
        'time': time,
        'video_path': f'./videos/{video}',
        'video_categories': 'basketball',
        'questions': list(questions),
    }


STREAMINGBENCH: dict[str, list] = {
    'real': [
        _streaming(
            '[0:00:00 - 0:00:05]',
            'sample_1_real.mp4',
            {
                'task_type': 'Object Recognition',
                'question': 'What is on the screen right now?',
                'time_stamp': '00:00:04',
                'answer': 'B',
                'options': ['A. A compass.', 'B. A map.', 'C. A radar.', 'D. A meter.'],
                'required_ability': 'working memory',
            },
            {
                'task_type': 'Counting',
                'question': 'How many lights are on?',
                'time_stamp': '00:00:02',
                'answer': 'D',
                'options': ['A. 1.', 'B. 2.', 'C. 3.', 'D. 4.'],
                'required_ability': 'episodic memory',
            },
        )
    ],
    'sqa': [
        [
            _streaming(
                '[0:00:00 - 0:00:02]',
                'sample_17_sqa.mp4',
                {
                    'task_type': 'Sequential Question Answering',
                    'question': 'Who serves?',
                    'time_stamp': '00:00:02',
                    'answer': 'A',
                    'options': ['The left one.', 'The right one.', 'Both.', 'Nobody.'],
                    'required_ability': 'episodic memory',
                },
            ),
            _streaming(
                '[0:00:02 - 0:00:05]',
                'sample_17_sqa.mp4',
                {
                    'task_type': 'Sequential Question Answering',
                    'question': 'How often has the one of the first question scored?',
                    'time_stamp': '00:00:05',
                    'answer': 'C',
                    'options': ['4.', '2.', '8.', '6.'],
                    'required_ability': 'episodic memory',
                },
            ),
        ]
    ],
    'proactive': [
        _streaming(
            '[0:00:00 - 0:00:05]',
            'sample_17_proactive.mp4',
            {
                'task_type': 'Proactive Output',
                'question': 'When the scoreboard shows 3 points for USA, output "3".',
                'time_stamp': '00:00:01',
                'ground_truth_time_stamp': '00:00:03',
                'ground_truth_output': '3',
                'required_ability': 'working memory',
            },
        )
    ],
}


def streamingbench(folder: Path) -> Path:
    for name, rows in STREAMINGBENCH.items():
        write(folder / f'questions_{name}.json', rows)
    for name in ('sample_1_real', 'sample_17_sqa', 'sample_17_proactive'):
        film(folder / 'videos' / f'{name}.mp4', 8)
    return folder


MADE = {
    'mvbench': mvbench,
    'videomme': videomme,
    'longvideobench': longvideobench,
    'ovobench': ovobench,
    'streamingbench': streamingbench,
}

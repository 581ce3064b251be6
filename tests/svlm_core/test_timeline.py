# SPDX-License-Identifier: Apache-2.0
"""The timeline page: complete in itself, honest, safe against what a model or user may say."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from svlm_core.errors import OutputError
from svlm_core.records import Record
from svlm_core.synthetic import Story
from svlm_core.timeline import (
    Picture,
    clock,
    percentile,
    picture,
    timeline,
    whole,
    write_lines,
    write_timeline,
)
from told import told

BEGAN = 1_700_000_000.0


def record(second: int, text: str = 'a red circle', **changes: object) -> Record:
    values = {'sequence': second, 'frame_id': 'lens', 'frames_dropped': 8, 'tokens': 5,
              'latency': 0.08}  # fmt: skip
    return told(BEGAN + second, text, **{**values, **changes})


def jpeg_size(shot: Picture) -> tuple[int, int]:
    with av.open(io.BytesIO(shot.jpeg), format='mjpeg') as container:
        frame = next(container.decode(video=0))
    return frame.height, frame.width


class Page(HTMLParser):
    """The page as a browser reads it: balanced tags, rows, and whatever could reach out."""

    VOID = frozenset({'meta', 'img', 'rect'})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[tuple[str, list[str], int]] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [v or '' for k, v in attrs if k in ('src', 'href', 'action', 'data')]
        assert not [name for name in values if name.startswith('on')]
        if tag == 'li':
            self.rows.append((values.get('class') or '', [], 0))
        if tag == 'img':
            kind, words, images = self.rows[-1]
            self.rows[-1] = (kind, words, images + 1)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if 'li' in self.open:
            self.rows[-1][1].append(data)


def test_every_second_stands_beside_its_own_pictures() -> None:
    story = Story(1, 64, 64)
    times = {0: (0, 0.5), 1: (1,), 2: (2, 2.5)}
    shots = {n: [picture(BEGAN + t, story.frame(t)) for t in of] for n, of in times.items()}
    records = [record(1, ''), record(0), record(2, late=True, latency=1.2)]  # in any order
    page = Page(timeline(records, shots, title='t'))
    kinds = [kind for kind, _, _ in page.rows]
    assert kinds == ['caption', 'silence', 'caption']
    assert [images for _, _, images in page.rows] == [2, 1, 2]
    links = [base64.b64decode(link.split(',')[1]) for link in page.links]
    assert links == [shot.jpeg for second in (0, 1, 2) for shot in shots[second]]
    first, silent, last = (words for _, words, _ in page.rows)
    assert first[:2] == ['0:00', ' – 0:01']
    assert 'a red circle' in first
    assert '80 ms' in first
    assert 'silent' in silent
    assert 'late' in last
    assert '1.20 s' in last


def test_a_second_without_pictures_says_so() -> None:
    (row,) = Page(timeline([record(3)], {}, title='t')).rows
    assert 'no picture' in row[1]


def test_a_reply_in_the_making_is_not_shown() -> None:
    half = record(0, 'a red', done=False)
    assert len(Page(timeline([half, record(0)], {}, title='t')).rows) == 1


def test_the_header_sums_up_the_run() -> None:
    records = [record(i, latency=0.1 + i / 1000, late=i == 7) for i in range(100)]
    records[3] = record(3, '', frames_repeated=1)
    text = timeline(records, {}, title='A run', notice='UNTRAINED: noise', facts={'model': 'tiny'})
    words = re.sub(r'<[^>]+>', '|', text)
    assert 'UNTRAINED: noise' in words
    assert '|100||seconds captioned||1 silent, 1 late|' in words
    assert '|150 ms||latency, median|' in words
    assert '|198 ms||latency, 99 %||longest 199 ms|' in words
    assert '|199||frames shown||of 999 received, 800 not shown|' in words
    assert '|model||tiny|' in words
    assert text.count('<rect ') == 100
    assert text.count('<rect ') - text.count('class="late"') == 99


def test_a_trained_model_gets_no_banner_and_a_file_has_no_latency() -> None:
    text = timeline([record(0, latency=None), record(1, latency=None)], {}, title='t')
    assert 'class="notice"' not in text
    assert 'no live clock' in text
    assert '<svg' not in text


def test_a_run_without_captions_still_gives_a_page() -> None:
    assert 'Nothing was captioned.' in timeline([], {}, title='t', notice='UNTRAINED')


@pytest.mark.parametrize(
    'evil',
    [
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        "' onload='alert(1)",
        '</style></li></ol><a href=http://example.com>x</a>',
        '{title} {0} %s',
        'naïve 日本語 \x00 \u202e ',
    ],
)
def test_whatever_is_said_is_text_and_nothing_reaches_out(evil: str) -> None:
    shot = picture(BEGAN, np.zeros((8, 8, 3), np.uint8))
    text = timeline([record(0, evil)], {0: [shot]}, title=evil, notice=evil, facts={evil: evil})
    page = Page(text)
    assert {'script', 'a', 'link', 'iframe'}.isdisjoint(page.tags)
    assert page.tags.count('img') == 1
    assert all(link.startswith('data:image/jpeg;base64,') for link in page.links)
    assert evil.strip('\x00 ') in ''.join(page.rows[0][1]) or '\x00' in evil
    assert "default-src 'none'" in text
    assert 'url(' not in text
    assert '@import' not in text


@pytest.mark.parametrize(
    ('shape', 'size'),
    [((720, 1280), (112, 199)), ((112, 112), (112, 112)), ((31, 45), (31, 45)), ((1, 1), (1, 1))],
)
def test_a_thumbnail_is_small_and_true(shape: tuple[int, int], size: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), (200, 90, 40), np.uint8)
    shot = picture(1.5, frame)
    assert jpeg_size(shot) == size
    assert shot.stamp == 1.5
    with av.open(io.BytesIO(shot.jpeg), format='mjpeg') as container:
        back = next(container.decode(video=0)).to_ndarray(format='rgb24')
    assert abs(back.astype(int) - (200, 90, 40)).max() <= 4


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / 'timeline.html'
    path.write_text('the run before')
    assert write_timeline(path, [record(0)], {}, title='t') == path
    assert path.read_text(encoding='utf-8').rstrip().endswith('</html>')
    assert [path] == list(tmp_path.iterdir())
    with pytest.raises(OutputError, match='no/such/place'):
        write_timeline(tmp_path / 'no/such/place/timeline.html', [record(0)], {}, title='t')


def test_of_two_that_write_a_file_at_once_the_last_one_leaves_its_whole_content(tmp_path) -> None:
    path = tmp_path / 'captions.jsonl'
    with whole(path) as slow:
        slow.write('begun, ')
        assert write_lines(path, [{'text': '红'}, [1]]) == path
        assert path.read_text(encoding='utf-8') == '{"text": "红"}\n[1]\n'
        slow.write('ended')
    assert path.read_text() == 'begun, ended'
    assert [path] == list(tmp_path.iterdir())


def test_rows_that_no_json_can_say_leave_the_file_as_it_was(tmp_path) -> None:
    path = write_lines(tmp_path / 'rows.jsonl', [1])
    with pytest.raises(ValueError, match='not JSON compliant'):
        write_lines(path, [2, float('nan')])
    assert path.read_text() == '1\n'
    assert [path] == list(tmp_path.iterdir())


def test_times_and_percentiles_read_as_people_expect() -> None:
    assert [clock(t) for t in (0, 0.5, 59.96, 75, 3661.25, -1.5)] == [
        '0:00',
        '0:00.5',
        '1:00',
        '1:15',
        '1:01:01.2',
        '-0:01.5',
    ]
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile(list(map(float, range(1, 101))), 0.99) == 99.0

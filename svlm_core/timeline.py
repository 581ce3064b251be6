# SPDX-License-Identifier: Apache-2.0
"""The timeline: one HTML file that shows, second by second, what was seen and what was said.

It needs nothing but itself: pictures are in it, styles are in it, and it may not reach any
network (its own content policy says so).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import av
import numpy as np

from svlm_core.errors import OutputError
from svlm_core.records import Record

THUMBNAIL = 112  # height of a picture in the file, in pixels


@dataclass(frozen=True)
class Picture:
    """A small JPEG of what the camera showed at `stamp`, in seconds of the records' clock."""

    stamp: float
    jpeg: bytes


def picture(stamp: float, frame: np.ndarray, height: int = THUMBNAIL) -> Picture:
    """Encode a frame (H, W, 3) uint8 RGB, shrunk to `height` lines where it has more."""
    height = min(height, frame.shape[0])
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    full = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
    small = full.reformat(
        width=width, height=height, format='yuvj420p', interpolation='AREA', dst_color_range='JPEG'
    )
    encoder = av.CodecContext.create('mjpeg', 'w')
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base = 'yuvj420p', Fraction(1, 25)
    encoder.options = {'qmin': '4', 'qmax': '4'}  # about 5 kB at 112 lines
    packets = [*encoder.encode(small), *encoder.encode(None)]
    return Picture(stamp, b''.join(bytes(packet) for packet in packets))


def write_timeline(
    path: Path | str,
    records: Sequence[Record],
    pictures: Mapping[int, Sequence[Picture]],
    *,
    title: str,
    notice: str = '',
    facts: Mapping[str, str] | None = None,
    seconds: float = 1.0,
) -> Path:
    """Write the timeline of `records`, each beside the pictures of its second; give back the path.

    `pictures` are those that the model was shown, by the `sequence` of the record. `notice` is a
    banner over everything (UNTRAINED); `facts` are lines of the header: model, device, versions.
    A record covers `seconds`. The file appears only when it is complete. Raises OutputError when
    it cannot be written.
    """
    page = timeline(records, pictures, title=title, notice=notice, facts=facts, seconds=seconds)
    return write_whole(path, page)


def make_folder(folder: Path) -> Path:
    """A folder, with those above it, unless it is there; give it back. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{folder} cannot be made: {error.strerror}') from error
    return folder


def write_whole(path: Path | str, text: str) -> Path:
    """Write a text file that appears only when it is complete; give back the path.

    Raises OutputError when it cannot be written.
    """
    with whole(path) as file:
        file.write(text)
    return Path(path)


def write_lines(path: Path | str, rows: Iterable[Any]) -> Path:
    """Write a .jsonl file, a line for each row, as `write_whole` does; give back the path."""
    with whole(path) as file:
        file.writelines(map(as_line, rows))
    return Path(path)


def lines_of(text: str) -> list[str]:
    """The lines of a .jsonl file: a line feed ends one, and nothing that may stand in a string.

    `str.splitlines` also splits at U+2028, U+0085 and others, which `as_line` does not escape.
    """
    lines = text.split('\n')
    return lines if lines[-1] else lines[:-1]


def as_line(row: Any) -> str:
    """A line of a .jsonl file, with its end."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + '\n'


@contextmanager
def whole(path: Path | str) -> Iterator[TextIO]:
    """A text file to write piece by piece, which appears when the block ends, and only then.

    Of several processes that write the same file at once, each writes a part of its own, and the
    last one to end has its content there. One that is killed leaves its part behind, hidden.
    Raises OutputError when it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part')
    try:
        with part.open('w', encoding='utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f'{path} cannot be written: {error.strerror}') from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def timeline(
    records: Sequence[Record],
    pictures: Mapping[int, Sequence[Picture]],
    *,
    title: str,
    notice: str = '',
    facts: Mapping[str, str] | None = None,
    seconds: float = 1.0,
) -> str:
    """The page as text; see `write_timeline`. Only finished records are shown."""
    done = sorted((r for r in records if r.done), key=lambda r: (r.window_start, r.sequence))
    origin = done[0].window_start if done else 0.0
    banner = f'<p class="notice" role="alert">{escape(notice)}</p>' if notice else ''
    rows = '\n'.join(
        _row(r, pictures.get(r.sequence, ()), r.window_start - origin, seconds) for r in done
    )
    empty = '<li class="none">Nothing was captioned.</li>'
    return PAGE.format(
        title=escape(title),
        banners=banner,
        cards=_cards(done),
        head=_chart(done, origin) + fact_list(facts or {}),
        rows=rows or empty,
        style=STYLE,
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of `values` that at least `part` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, int(np.ceil(part * len(ordered))) - 1)]


def clock(seconds: float) -> str:
    """Stream time as people read it: 0:07, 12:34, 1:02:03, with tenths where there are some."""
    tenths = round(seconds * 10)
    whole, rest = divmod(abs(tenths), 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f'{hours}:{minute:02}:{second:02}' if hours else f'{minute}:{second:02}'
    return ('-' if tenths < 0 else '') + text + (f'.{rest}' if rest else '')


def _row(record: Record, pictures: Sequence[Picture], start: float, seconds: float) -> str:
    origin = record.window_start - start
    frames = ''.join(image_tag(p, origin) for p in pictures) or (
        '<span class="missing">no picture</span>'
    )
    said = escape(record.text.strip()) or 'silent'
    return (
        f'<li class="{escape(record.kind)}"><div class="time">{clock(start)}'
        f'<span> – {clock(start + seconds)}</span></div>'
        f'<div class="frames">{frames}</div>'
        f'<div class="words"><p>{said}</p><div class="chips">{chips_of(record)}</div></div></li>'
    )


def image_tag(shot: Picture, origin: float) -> str:
    """A picture as HTML; `origin` is second 0 on the clock of its stamp."""
    data = base64.b64encode(shot.jpeg).decode('ascii')
    label = f'camera at {clock(shot.stamp - origin)}'
    return f'<img src="data:image/jpeg;base64,{data}" alt="{label}" title="{label}">'


def chips_of(record: Record) -> str:
    """What is to be known of a record besides its text, as HTML."""
    chips: list[tuple[str, str]] = []
    if record.kind in ('answer', 'alert'):
        chips.append((record.kind, record.kind))
    if record.latency is not None:
        chips.append(('', milliseconds(record.latency)))
    if record.tokens:
        chips.append(('', f'{record.tokens} token{"s" * (record.tokens != 1)}'))
    if record.late:
        chips.append(('bad', 'late'))
    if record.frames_repeated:
        chips.append(('bad', f'{record.frames_repeated} repeated'))
    if record.frames_dropped:
        chips.append(('', f'{record.frames_dropped} not shown'))
    return ''.join(f'<span class="chip {kind}">{escape(text)}</span>' for kind, text in chips)


def milliseconds(seconds: float) -> str:
    """A latency as people read it: 84 ms, 1.24 s."""
    return f'{seconds * 1000:.0f} ms' if seconds < 0.9995 else f'{seconds:.2f} s'


def _cards(records: Sequence[Record]) -> str:
    latencies = [r.latency for r in records if r.latency is not None]
    late = sum(r.late for r in records)
    used = sum(r.frames_used - r.frames_repeated for r in records)
    dropped = sum(r.frames_dropped for r in records)
    silent = sum(r.kind == 'silence' for r in records)
    figures = [
        ('seconds captioned', str(len(records)), f'{silent} silent, {late} late'),
        (
            'latency, median',
            milliseconds(median(latencies)) if latencies else '–',
            'frame to text',
        ),
        (
            'latency, 99 %',
            milliseconds(percentile(latencies, 0.99)) if latencies else '–',
            f'longest {milliseconds(max(latencies))}' if latencies else 'no live clock',
        ),
        ('frames shown', str(used), f'of {used + dropped} received, {dropped} not shown'),
    ]
    return ''.join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span>'
        f'<small>{escape(more)}</small></div>'
        for name, value, more in figures
    )


def _chart(records: Sequence[Record], origin: float) -> str:
    """Latency of every second as a bar, against the second that it may take."""
    known = [(r, r.latency) for r in records if r.latency is not None]
    if len(known) < 2:
        return ''
    top = max(0.1, *(latency * 1.15 for _, latency in known))
    bars = ''.join(
        f'<rect x="{index + 0.12:.2f}" y="{40 - 40 * latency / top:.2f}" width="0.76" '
        f'height="{40 * latency / top:.2f}"{_LATE * record.late}><title>'
        f'{clock(record.window_start - origin)}: {milliseconds(latency)}</title></rect>'
        for index, (record, latency) in enumerate(known)
    )
    return (
        f'<figure><svg viewBox="0 0 {len(known)} 40" preserveAspectRatio="none" role="img" '
        f'aria-label="latency per second">{bars}</svg>'
        f'<figcaption><span>latency of each second</span>'
        f'<span>full height {milliseconds(top)}</span></figcaption></figure>'
    )


def fact_list(facts: Mapping[str, str]) -> str:
    """Names and values as an HTML list; empty for none."""
    pairs = ''.join(
        f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
        for name, value in facts.items()
    )
    return f'<dl>{pairs}</dl>' if pairs else ''


_LATE = ' class="late"'

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
{banners}
<h1>{title}</h1>
<div class="cards">{cards}</div>
{head}
</header>
<main>
<ol>
{rows}
</ol>
</main>
</body>
</html>
"""

STYLE = """
:root {
  --page: #f5f6f8; --card: #ffffff; --ink: #17202b; --soft: #5c6876; --line: #dde2e8;
  --accent: #2563c9; --bar: #7ba4ea; --warn: #8a4b00; --warn-page: #ffe9c7; --warn-line: #f0b65a;
  --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10151c; --card: #19212b; --ink: #e8edf3; --soft: #93a1b1; --line: #2a3541;
    --accent: #7db0ff; --bar: #3f6fbf; --warn: #ffd08a; --warn-page: #3b2a0d;
    --warn-line: #8a6420; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; margin: 0; }
body {
  background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  max-width: 940px; margin: 0 auto; padding: 20px 16px 64px;
}
h1 { font-size: 1.5rem; letter-spacing: -0.01em; line-height: 1.25; margin-bottom: 14px; }
.notice {
  background: var(--warn-page); color: var(--warn); border: 1px solid var(--warn-line);
  border-radius: 10px; padding: 10px 14px; margin-bottom: 18px; font-weight: 600;
}
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px;
}
.card b {
  display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums;
}
.card span { display: block; font-size: .85rem; }
.card small { color: var(--soft); font-size: .78rem; }
figure { margin: 14px 0 0; }
svg { display: block; width: 100%; height: 40px; }
rect { fill: var(--bar); }
rect.late { fill: var(--bad); }
figcaption {
  display: flex; justify-content: space-between; color: var(--soft); font-size: .78rem;
  border-top: 1px solid var(--line); padding-top: 4px;
}
dl { display: flex; flex-wrap: wrap; gap: 4px 20px; margin-top: 12px; font-size: .85rem; }
dl div { display: flex; gap: 6px; min-width: 0; }
dt { color: var(--soft); }
dd { overflow-wrap: anywhere; }
ol { list-style: none; padding: 0; margin-top: 26px; border-left: 2px solid var(--line); }
li {
  position: relative; display: grid; grid-template-columns: 104px auto 1fr; gap: 16px;
  align-items: center; padding: 9px 0 9px 18px;
}
li::before {
  content: ""; position: absolute; left: -6px; top: calc(50% - 5px); width: 10px; height: 10px;
  border-radius: 50%; background: var(--accent); border: 2px solid var(--page);
}
li.silence::before { background: var(--line); }
li.alert::before { background: var(--bad); }
li.none { display: block; color: var(--soft); }
.time { font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap; }
.time span { color: var(--soft); font-weight: 400; }
.frames { display: flex; gap: 6px; }
.frames img { display: block; height: 96px; max-width: 180px; border-radius: 8px; }
.missing {
  display: grid; place-items: center; width: 96px; height: 96px; border-radius: 8px;
  border: 1px dashed var(--line); color: var(--soft); font-size: .78rem;
}
.words p { overflow-wrap: anywhere; white-space: pre-wrap; }
.silence .words p { color: var(--soft); font-style: italic; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 6px; }
.chip {
  font-size: .74rem; color: var(--soft); border: 1px solid var(--line); border-radius: 999px;
  padding: 1px 9px; font-variant-numeric: tabular-nums; background: var(--card);
}
.chip.bad, .chip.alert { color: var(--bad); border-color: currentColor; }
.chip.answer { color: var(--accent); border-color: currentColor; }
@media (max-width: 640px) {
  .cards { grid-template-columns: repeat(2, 1fr); }
  li { grid-template-columns: 1fr; gap: 8px; padding: 12px 0 12px 16px; }
  li::before { top: 19px; }
  .frames { overflow-x: auto; }
}
"""

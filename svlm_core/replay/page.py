# SPDX-License-Identifier: Apache-2.0
"""The report of a replay as one HTML file that needs nothing but itself and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from svlm_core.records import Record
from svlm_core.replay import plots
from svlm_core.replay.plots import Line, plot
from svlm_core.replay.report import Other
from svlm_core.timeline import PAGE, Picture, chips_of, clock, fact_list, image_tag, milliseconds
from svlm_core.timeline import STYLE as TIMELINE_STYLE

Report = Mapping[str, Any]


def page(
    report: Report,
    records: Sequence[Record],
    thumbnails: Mapping[int, Picture],
    *,
    notice: str,
    other: Other | None,
) -> str:
    """The page of a report and its records; beside them, if given, another run."""
    title = f'Replay of {report["bag"]["path"]}'
    banners = [notice, *report['problems']]
    return PAGE.format(
        title=escape(title),
        style=TIMELINE_STYLE + plots.STYLE + _STYLE,
        banners=''.join(f'<p class="notice" role="alert">{escape(b)}</p>' for b in banners if b),
        cards=_cards(report),
        head=_plots(report, records, other) + _table(report, other) + fact_list(_facts(report)),
        rows=_rows(report, records, thumbnails, other),
    )


def figures(report: Report) -> dict[str, str]:
    """The numbers of a run, by name, as people read them."""
    frames, camera, timing = report['frames'], report['camera'], report['timing']
    rounds, latency = report['rounds'], timing['latency'] or {}
    live = report['mode'] == 'realtime'
    rows = {
        'model': report['engine']['model'],
        'mode': report['mode'],
        'rounds captioned': f'{rounds["captioned"]}, {rounds["with_words"]} with words',
        'rounds skipped, lost': f'{rounds["skipped"]}, {len(rounds["lost"])}',
        'rounds late': str(rounds['late']) if live else 'no clock runs',
        'frames received': str(frames['received']),
        'frames used, dropped': f'{frames["used"]}, {frames["dropped"]}',
        'frames repeated': str(frames['repeated']),
        'frames missed by the recorder': str(camera['missed']),
        'frame rate': _number(camera['rate'], ' Hz'),
        'jitter of the camera': _seconds(camera['jitter']),
    }
    what = 'latency' if live else 'computing'
    for name in ('p50', 'p90', 'p99', 'max'):
        rows[f'{what}, {name}'] = _seconds(latency.get(name))
    jitter = timing['jitter'] or {}
    rows[f'jitter of {what}, mean'] = _seconds(jitter.get('mean'))
    rows[f'jitter of {what}, max'] = _seconds(jitter.get('max'))
    rows['tokens generated'] = str(report['tokens'])
    rows['tokens per second'] = _number(timing['tokens_per_second'])
    rows['tokens per second, decoding'] = _number(timing['tokens_per_second_decoding'])
    rows['speed'] = _number(timing['times_real_time'], ' x real time')
    rows['tokens held, most'] = f'{max(report["memory"]["held"], default=0)}'
    rows['tokens that fit'] = str(report['memory']['capacity'])
    peak = max((rss for rss in timing['rss_per_round'] if rss), default=None)
    rows['memory of the process'] = _number(peak and peak / 2**20, ' MiB')
    if report['reference']:
        rows |= _agreed('reference', report['reference']['agreement'])
    return rows


def _agreed(name: str, found: Mapping[str, Any]) -> dict[str, str]:
    values = ('f1', 'precision', 'recall', 'exact', 'silence')
    return {f'{name}: {value}': _percent(found[value]) for value in values}


def _cards(report: Report) -> str:
    rounds, frames, timing = report['rounds'], report['frames'], report['timing']
    camera, latency = report['camera'], timing['latency'] or {}
    live = report['mode'] == 'realtime'
    silent = rounds['captioned'] - rounds['with_words']
    cards = [
        ('seconds captioned', str(rounds['captioned']), f'{silent} silent, {rounds["late"]} late'),
        (
            'latency, median' if live else 'computing, median',
            _seconds(latency.get('p50')),
            f'99 %: {_seconds(latency.get("p99"))}',
        ),
        ('frame rate', _number(camera['rate'], ' Hz'), f'{camera["missed"]} frames missed'),
        (
            'frames shown',
            str(frames['used']),
            f'of {frames["received"]} received, {frames["dropped"]} dropped',
        ),
        (
            'tokens per second',
            _number(timing['tokens_per_second']),
            f'{report["tokens"]} generated',
        ),
        (
            'tokens held',
            str(max(report['memory']['held'], default=0)),
            f'of {report["memory"]["capacity"]} that fit',
        ),
    ]
    for name in ('reference', 'compared'):
        if report[name]:
            found = report[name]['agreement']
            note = f'{_percent(found["exact"])} exact, {_percent(found["silence"])} silence'
            title = 'agreement' if name == 'reference' else 'agreement, runs'
            cards.append((title, _percent(found['f1']), note))
    return ''.join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span>'
        f'<small>{escape(more)}</small></div>'
        for name, value, more in cards
    )


def _plots(report: Report, records: Sequence[Record], other: Other | None) -> str:
    length = report['settings']['chunk_seconds']
    own = _Series(report, [record.sequence for record in records], length)
    theirs = other and _Series(other.report, [r.sequence for r in other.records], length)
    per_second = report['camera']['per_second']

    def both(values: Callable[[Report], Sequence[float | None]], scale: float = 1) -> list[Line]:
        lines = [Line('this run', own.points(values, scale))]
        if theirs:
            lines.append(Line('other run', theirs.points(values, scale), 'other'))
        return lines

    capacity = report['memory']['capacity']
    ends = [own.at[0], own.at[-1]] if own.at else []
    live = report['mode'] == 'realtime'
    found = [
        plot(
            'latency' if live else 'computing of each round',
            both(lambda r: r['timing']['latency_per_round'], 1e3),
            'ms',
        ),
        plot('frames per second', [Line('camera', list(enumerate(per_second)))]),
        plot(
            'tokens held',
            [
                *both(lambda r: r['memory']['held']),
                Line('room', [(end, capacity) for end in ends], 'limit'),
            ],
        ),
        plot('memory of the process', both(lambda r: r['timing']['rss_per_round'], 2**-20), 'MiB'),
    ]
    for name, title in (('reference', 'the reference'), ('compared', 'the other run')):
        if report[name]:
            scores = report[name]['agreement']['per_round']
            points = [(number * length, scores[number]) for number in sorted(scores)]
            found.append(plot(f'agreement with {title}, F1', [Line('words', points)]))
    return f'<div class="plots">{"".join(found)}</div>'


class _Series:
    """Values of a run over stream time."""

    def __init__(self, report: Report, numbers: Sequence[int], length: float) -> None:
        self._report = report
        self.at = [number * length for number in numbers]

    def points(
        self, values: Callable[[Report], Sequence[float | None]], scale: float
    ) -> list[tuple[float, float | None]]:
        rows = zip(self.at, values(self._report), strict=False)
        return [(at, None if value is None else value * scale) for at, value in rows]


def _table(report: Report, other: Other | None) -> str:
    own = figures(report)
    theirs = figures(other.report) if other else {}
    names = [*own, *(name for name in theirs if name not in own)]
    head = '<th>this run</th>' + (f'<th>{escape(other.name)}</th>' if other else '')
    rows = ''.join(
        f'<tr><th>{escape(name)}</th><td>{escape(own.get(name, "–"))}</td>'
        + (f'<td>{escape(theirs.get(name, "–"))}</td>' if other else '')
        + '</tr>'
        for name in names
    )
    return (
        f'<details{" open" * bool(other)}><summary>all figures</summary>'
        f'<table><tr><th></th>{head}</tr>{rows}</table></details>'
    )


def _facts(report: Report) -> dict[str, str]:
    engine, settings, bag = report['engine'], report['settings'], report['bag']
    return {
        'topic': f'{report["topic"]["name"]} ({report["topic"]["encoding"]})',
        'bag': f'{sum(file["bytes"] for file in bag["files"]) / 1e6:.1f} MB',
        'sha256': bag['sha256'],
        'model': f'{engine["model"]}, {engine["dtype"]} on {engine["device"]}',
        'query': settings['query'],
        'policy': settings['policy'],
        'vision window': f'{settings["vision_window"]} s',
        'sampling': f'{settings["fps"]:g} fps, seed {settings["sampling"]["seed"]}, '
        f'temperature {settings["sampling"]["temperature"]:g}',
        'finished': report['timing']['finished'],
        **report['versions'],
    }


def _rows(
    report: Report,
    records: Sequence[Record],
    thumbnails: Mapping[int, Picture],
    other: Other | None,
) -> str:
    length = report['settings']['chunk_seconds']
    beside: list[tuple[str, Mapping[int, str]]] = []
    if report['reference']:
        beside.append(('reference', report['reference']['texts']))
    if other:
        beside.append(('other run', other.texts))
    skipped = dict(report['rounds']['skipped_ranges'])
    rows = []
    for record in records:
        start = record.sequence * length
        for first in [first for first in skipped if first < record.sequence]:
            end = (skipped.pop(first) + 1) * length
            rows.append(
                f'<li class="none">{clock(first * length)} – {clock(end)}: not captioned</li>'
            )
        rows.append(_row(record, thumbnails.get(record.sequence), start, length, beside))
    return '\n'.join(rows) or '<li class="none">Nothing was captioned.</li>'


def _row(
    record: Record,
    shown: Picture | None,
    start: float,
    length: float,
    beside: Sequence[tuple[str, Mapping[int, str]]],
) -> str:
    frame = image_tag(shown, record.window_start - start) if shown else ''
    said = escape(record.text.strip()) or 'silent'
    others = ''.join(
        f'<p class="beside"><span>{name}</span> '
        f'{escape(texts[record.sequence].strip()) or "silent"}</p>'
        for name, texts in beside
        if record.sequence in texts
    )
    return (
        f'<li class="{escape(record.kind)}"><div class="time">{clock(start)}'
        f'<span> – {clock(start + length)}</span></div><div class="frames">{frame}</div>'
        f'<div class="words"><p>{said}</p>{others}'
        f'<div class="chips">{chips_of(record)}</div></div></li>'
    )


def _seconds(value: float | None) -> str:
    return '–' if value is None else milliseconds(value)


def _number(value: float | None, unit: str = '') -> str:
    return '–' if value is None else f'{value:.4g}{unit}'


def _percent(value: float | None) -> str:
    return '–' if value is None else f'{100 * value:.1f} %'


_STYLE = """
h1 { overflow-wrap: anywhere; }
.cards { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--accent); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; margin-top: 8px; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
tr th:first-child { color: var(--soft); font-weight: 400; }
.words p.beside { color: var(--soft); font-size: .85rem; }
.beside span { border: 1px solid var(--line); border-radius: 6px; padding: 0 6px; }
"""

# SPDX-License-Identifier: Apache-2.0
"""Write docs/parameters.md from the parameters of the node, as the node itself declares them.

.venv/bin/python tools/parameter_table.py           # write it
.venv/bin/python tools/parameter_table.py --check   # status 1 where it is stale
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from svlm_core.card import suited
from svlm_core.shedding import CALM, LATE, LEAST_TOKENS, LEAST_VISION, TRIAL
from svlm_ros.parameters import Parameter, table

PAGE = Path(__file__).parents[1] / 'docs' / 'parameters.md'
GROUPS = {
    'The node': 'autostart memory_folder',
    'The camera': 'camera cameras transport frame_timeout max_frame_age',
    'What it says': 'publish_partial publish_silence alerts alert_period',
    'When the model cannot keep up': 'mailbox lossless_rounds shed',
    'Diagnostics': 'warn_frame_age error_frame_age warn_latency error_latency warn_lost '
    'error_lost',
    'The model': 'model device dtype preset',
    'What it is asked': 'query query_tokens previous_text ask.enabled ask_tokens',
    'What it remembers': 'policy rope vision_window text_rounds text_sink text_window '
    'text_refresh_interval reset_every capacity',
    'How it looks': 'fps chunk_seconds time_origin time_range max_vision_tokens min_vision_tokens',
    'How it speaks': 'max_new_tokens temperature top_k top_p repetition_penalty seed',
}
HEAD = """\
# Parameters of the captioner

Written by `tools/parameter_table.py`; a test holds it true. `config/captioner.yaml` has them all,
to be copied and changed; `ros2 param describe /captioner NAME` explains one. A value out of range,
or of the wrong type, is refused with the reason, at start as later.

**live** may be changed while the node runs, and holds from the next second on:
`ros2 param set /captioner shed tokens`. A request holds as a whole or not at all.
`max_new_tokens` and `max_vision_tokens` may be lowered, and raised again to their value at start,
for which memory was reserved. All others are read once, at start.

ROS has no empty value: -1 stands for none where a limit may be absent, and `['']` for an empty
list (`[]` will do). Defaults are those of preset `robot`; where preset `reference` has another, it
stands behind. So do those of svlm-tiny: a model may bring the settings that it was trained with
(`stream` in its `svlm.json`), and preset `robot` takes them over.
"""
TAIL = f"""
## Alerts

`alerts` is a list of `NAME: CONDITION`:

```yaml
alerts: ['fire: smoke|flames', 'door: is the door open?', 'queue: /more than (five|six) people/']
```

Between slashes a condition is a regular expression; else, with a blank in it and a question mark
at its end, a question; else a regular expression. Expressions are searched in finished captions,
whatever the case. Questions are put to the model after a caption, on the memory that
`ask.enabled` reserves; an answer that begins with yes is an alert. One name is told at most once
in `alert_period` seconds, and a question that was met is not asked again before.

## Shedding load

With `mailbox` newest, seconds that the model has no time for are skipped and counted: no queue
grows, whatever `shed` says. It says what is tried before that:

- `skip`: nothing.
- `tokens`: after {LATE} rounds in a row that took longer than they last, `max_new_tokens` is
  halved, again and again, down to {LEAST_TOKENS}.
- `resolution`: the same with `max_vision_tokens`, down to {LEAST_VISION} (or `min_vision_tokens`
  where that is more).

A step is given back after {CALM} rounds in a row in which it would have fitted, judged by the time
of the stages that it makes longer. Where it has to be taken again within {TRIAL} rounds, the next
try waits twice as long. The status says what is cut (`shedding`).
"""


def page() -> str:
    """The whole file. Raises ValueError where GROUPS and the parameters differ."""
    rows = {row.name: row for row in table()}
    reference = {row.name: row for row in table('reference') if row.name != 'preset'}
    tiny = {row.name: row for row in table('robot', suited('robot', None))}
    others = {'reference': reference, 'svlm-tiny': tiny}
    named = ' '.join(GROUPS.values()).split()
    if sorted(named) != sorted(rows):
        odd = ', '.join(sorted({*named} ^ {*rows}))
        raise ValueError(f'GROUPS must name each parameter once, and it does not: {odd}')
    parts = [HEAD]
    for title, names in GROUPS.items():
        lines = [_line(rows[name], others) for name in names.split()]
        head = '| parameter | default | values | changes | meaning |\n|---|---|---|---|---|'
        parts.append(f'\n## {title}\n\n{head}\n' + '\n'.join(lines) + '\n')
    return ''.join(parts) + TAIL


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; the exit status."""
    if arguments not in ([], ['--check']):
        print('usage: parameter_table.py [--check]', file=sys.stderr)
        return 2
    if not arguments:
        PAGE.write_text(page(), encoding='utf-8')
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding='utf-8') == page():
        return 0
    print(f'{PAGE} is stale: run tools/parameter_table.py', file=sys.stderr)
    return 1


def _line(row: Parameter, others: Mapping[str, Mapping[str, Parameter]]) -> str:
    default = _shown(row.default)
    for name, rows in others.items():
        if row.name in rows and rows[row.name].default != row.default:
            default += f'; {name}: {_shown(rows[row.name].default)}'
    cells = (f'`{row.name}`', default, _values(row), 'live' if row.live else 'at start', row.help)
    return '| ' + ' | '.join(cells) + ' |'


def _shown(default: object) -> str:
    if default in ('', ['']):
        return 'empty'
    if isinstance(default, bool):
        return str(default).lower()
    return str(default)


def _values(row: Parameter) -> str:
    """What the parameter can be."""
    if row.choices:
        return ', '.join(row.choices)
    if row.kind is bool:
        return 'true, false'
    if row.kind is tuple:
        return 'list of texts'
    if row.kind is str:
        return 'text'
    kind = 'whole' if row.kind is int else 'number'
    low = '' if row.low is None else f', from {row.low}'
    high = '' if row.high is None else f' to {row.high}'
    return f'{kind}{low}{high}' + (', or -1: none' if row.optional else '')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

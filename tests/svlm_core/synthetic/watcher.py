# SPDX-License-Identifier: Apache-2.0
"""An independent reader of the world: says what a second shows, from what it saw and said so far.

It shares no code with the script and the grammar. It knows the rules as a person would be told
them, sees the sights one after the other, and remembers them and its own words.
"""

from __future__ import annotations

NUMBERS = 'zero one two three four five six seven eight nine'.split()
LAGS = {'-2': 'Two', '-4': 'Four', '-8': 'Eight', '-12': 'Twelve', '-15': 'Fifteen'}


class Watcher:
    """Sees one second after the other and says its caption."""

    def __init__(self) -> None:
        self.lights: list[str] = []
        self.said: list[str] = []

    def see(self, sight) -> str:
        self.lights.append(sight.lamp)
        words = [self._robot(sight), self._screen(sight), self._floor(sight)]
        spoken = [sentence for sentence in words if sentence]
        assert len(spoken) <= 1, 'one thing at a time'
        self.said.append(spoken[0] if spoken else '')
        return self.said[-1]

    def _robot(self, sight) -> str:
        if not sight.robot:
            return ''
        start = f'Dock of robot {sight.robot}:'
        if sight.screen:
            return f'{start} {NUMBERS[int(sight.screen.text)]}.'
        last = NUMBERS.index(self._last(start)[-1])
        return f'{start} {NUMBERS[1 if last == 9 else last + 1]}.'

    def _screen(self, sight) -> str:
        screen = sight.screen
        if not screen or sight.robot:
            return ''
        if screen.text.startswith('-'):
            light = self.lights[-1 - int(screen.text[1:])]
            return f'{LAGS[screen.text]} seconds ago the light was {light}.'
        start = f'{screen.color.capitalize()}:'
        number = self._last(start)[-1] if screen.text == '?' else NUMBERS[int(screen.text)]
        return f'{start} {number}.'

    def _floor(self, sight) -> str:
        before = {(t.color, t.shape): t.place for t in sight.before}
        after = {(t.color, t.shape): t.place for t in sight.after}
        changed = [who for who in before | after if before.get(who) != after.get(who)]
        if not changed:
            return ''
        (who,) = changed
        name = ' '.join(who)
        if who not in before:
            return f'A {name} appears.'
        if who not in after:
            return f'The {name} disappears.'
        if after[who].startswith('beside '):
            (other,) = (w for w, place in after.items() if f'beside {place}' == after[who])
            return f'The {name} hits the {" ".join(other)}.'
        if after[who] == 'middle':
            return f'The {name} leaves the {before[who]} zone.'
        return f'The {name} enters the {after[who]} zone.'

    def _last(self, start: str) -> list[str]:
        """The words of the last sentence that began like this."""
        return next(s for s in reversed(self.said) if s.startswith(start)).rstrip('.').split()

# SPDX-License-Identifier: Apache-2.0
"""The small tokenizer of svlm-tiny: Qwen's rules and special tokens over the words of a robot.

It is a byte-level BPE like Qwen's own, so any text goes through it. The words of `TEXT` are one
token each, with a colon where they have one. So that a second of stream is short, so are the
pieces of its layout: a role with its line feed, two digits, what stands around the seconds in
`Time=12.0-13.0s`, and ' ...'. Digits are paired from the right, so that seconds look alike at any
time: 34, 234 and 1234 end in the same token.
"""

from __future__ import annotations

import re

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.models import BPE

SPECIAL_TOKENS = (
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    '<|vision_start|>',
    '<|vision_end|>',
    '<|vision_pad|>',
    '<|image_pad|>',
    '<|video_pad|>',
)

# The layout, then how Qwen cuts text before the merges. But digits are cut by two, from the right,
# and a colon stays with its word.
WORD_PATTERN = (
    r'(?:system|user|assistant|previous text)\n|Time=|\.0-|\.0s|'
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+:?|"
    r'\p{N}{1,2}(?=(?:\p{N}{2})*(?!\p{N}))'
    r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)

LAYOUT = (
    'system\nuser\nassistant\nprevious text\n',
    ' '.join(f'{number:02d}' for number in range(100)),
    'You are a helpful assistant.',
    'Time=0.0-1.0s',
    'Describe what the robot sees.',
    'Commentate on this match',
    ' ...',
)

TEXT = """
A red circle enters from the left. The blue square leaves the yellow zone on the right.
An orange triangle moves up and stops near the wall. The green circle turns back slowly.
Two purple squares cross in the middle. A white triangle passes behind the pink circle.
The cyan square appears at the top and goes down. A teal circle disappears below the shelf.
The robot sees a quiet room. Nothing moves. The light is getting dim, then bright again.
The camera is still, the floor is empty, the door is open, the door is closed.
It has been here before, it was there first, it came last, it comes again, it is gone now.
How many circles have passed? Three triangles so far, four, five, six, seven, eight, nine, ten.
One more box is on the table, one less on the ground. The big one hits the small one.
Count them and say when someone enters. Tell me which shape is in the dock, and what color.
A person walks in front of the robot. People stand together, a hand picks an object up.
The ball rolls away, the cup falls, the bottle is full, the chair is next to the desk.
A circle was in the red zone two seconds ago. The code of the red square is seven.
The red robot is at dock nine. Two seconds ago the light was blue. Four seconds ago it was white.
Say the codes. Red: seven. Yellow: two. Green: nine. Blue: zero. Purple: one. White: six.
And then, Orange: five. And last, Pink: eight. Dock of robot red: four. Dock of robot pink: three.
A minute has passed. Eight seconds ago it was red. Twelve seconds, fifteen seconds, not one more.
The seconds are counted. Twelve seconds ago it was blue. Fifteen seconds ago the light was green.
At the start the blue circle was named Ada. The square named Bo came after it, from outside.
They meet, touch, bounce, and move apart. The fast triangle follows the slow square around.
He, she, we, you, I, and they look at this and that with their own eyes; not all, but some.
Left of it, right of it, above it, under it, over it, inside it, between them, across, toward.
No, yes, nobody, none, each, every, both, other, same, new, old, dark, black, gray, brown.
So it will be: what, who, where, why, whose, did, does, do, had, can, could, would, for, as, by.
Please answer in a short sentence. Describe the scene. Watch the zone. Alert when it is true.
The score is zero to one. The total is even. Since then it waits, holds, carries, drops, opens.
A minute later, half a minute, an hour, a second, seconds, times, once, twice, while, until.
Robot, camera, dock, lane, corner, edge, center, area, line, side, path, way, place, shelf, wall.
"""


def spoken_words() -> list[str]:
    """The words of `TEXT`, each as it is said inside a sentence: with the space before it."""
    return sorted({f' {word}' for word in re.findall('[a-z]+', TEXT.lower())})


def build_tokenizer() -> Tokenizer:
    """Train the tokenizer on the texts above: the same result every time, in a moment.

    Merging goes on until every word of the texts is one token, so the size follows from them.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), 'isolated'),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator([*LAYOUT, *_sentences(TEXT)], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def _sentences(text: str) -> list[str]:
    """Every line as it stands and in lower case, so that a word is whole wherever it occurs."""
    lines = text.strip().splitlines()
    return [*lines, *(f' {line.lower()}' for line in lines)]

# SPDX-License-Identifier: Apache-2.0
"""The chat layout: what stands where, what text can never do to it, what of a reply is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from svlm_core.config import preset
from svlm_core.errors import SettingsError, TokenizerError
from svlm_core.prompt import ChatTokenizer, Prompt
from svlm_core.transcript import Role, Segment

NAMES = ['<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|video_pad|>', '<|endoftext|>']
PLAIN = ChatTokenizer(Path(__file__).parents[1] / 'parity' / 'checkpoint')
spoken = st.lists(st.sampled_from([*NAMES, 'Time=1.0-2.0s', '\n', ' ...', 'é', '猫', 'ball'])).map(
    ''.join
)


@pytest.fixture(scope='module')
def stock(golden) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(golden / 'checkpoint')


def robot(tokenizer: ChatTokenizer, **changes) -> Prompt:
    return Prompt(tokenizer, preset('robot', **changes))


def published(tokenizer: ChatTokenizer, **changes) -> Prompt:
    return Prompt(tokenizer, preset('reference', **changes))


def ids_of(segments: list[Segment]) -> list[int]:
    return [i for segment in segments for i in segment.ids]


def by_role(segments: list[Segment]) -> dict[Role, tuple[int, ...]]:
    return {segment.role: segment.ids for segment in segments}


def markers(tokenizer: ChatTokenizer, ids) -> list[int]:
    return [i for i in ids if i in tokenizer.special]


# -- the published layout, through the checkpoint's own chat template ------------------------


def test_two_published_rounds_are_what_the_chat_template_makes_of_them(stock, tokenizer):
    prompt = published(tokenizer, query=' what moves', previous_text='a ball')
    rounds = [
        {'role': 'previous text', 'content': 'a ball'},
        {'role': 'user', 'content': [
            {'type': 'text', 'text': 'Time=0.0-1.0s'}, {'type': 'video'},
            {'type': 'text', 'text': ' what moves'}]},
        {'role': 'assistant', 'content': 'it rolls ...'},
        {'role': 'user', 'content': [
            {'type': 'text', 'text': 'Time=1.0-2.0s'}, {'type': 'video'}]},
    ]  # fmt: skip
    text = stock.apply_chat_template(rounds, tokenize=False, add_generation_prompt=True)
    theirs = stock.encode(text, add_special_tokens=False)
    reply = prompt.reply(0, tokenizer.encode('it rolls ...'))
    ours = [
        *prompt.opening(),
        *prompt.round(0, 0, (1, 1, 1), opening=True),
        prompt.ended(reply),
        *prompt.round(1, 1, (1, 1, 1), opening=False),
    ]
    assert ids_of(ours) == theirs


def test_the_system_turn_is_the_one_of_the_template(stock, tokenizer):
    text = stock.apply_chat_template([{'role': 'user', 'content': ''}], tokenize=False)
    system = text[: text.index('<|im_end|>\n') + len('<|im_end|>\n')]
    first = robot(tokenizer).opening()[0]
    assert first.role is Role.SYSTEM
    assert list(first.ids) == stock.encode(system)
    words = [*tokenizer.encode('system\n'), *tokenizer.encode('You are a helpful assistant.')]
    assert len(first.ids) == len(words) + 3  # start, end, line feed: 11 with Qwen's vocabulary


def test_previous_text_costs_its_structure_and_its_words(tokenizer):
    parts = by_role(published(tokenizer, previous_text='the red ball').opening())
    header = len(tokenizer.encode('previous text\n')) + 1
    closing = (tokenizer.turn_end, *tokenizer.encode('\n'))
    assert (len(parts[Role.PREVIOUS_OPEN]), parts[Role.PREVIOUS_CLOSE]) == (header, closing)
    assert parts[Role.PREVIOUS] == tokenizer.encode('the red ball')


# -- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('start', 'chunk', 'said'),
    [(0, 1, 'Time=0.0-1.0s'), (9, 1, 'Time=9.0-10.0s'), (3599, 1, 'Time=3599.0-3600.0s'),
     (86_400, 2, 'Time=86400.0-86402.0s'), (0.5, 0.5, 'Time=0.5-1.0s'),
     (1e6 + 0.25, 1, 'Time=1000000.2-1000001.2s')],
)  # fmt: skip
def test_time_is_in_seconds_of_stream_with_one_decimal(tokenizer, start, chunk, said):
    parts = by_role(robot(tokenizer, chunk_seconds=chunk).round(5, start, None, opening=False))
    assert tokenizer.decode(parts[Role.TIME]) == said


def test_no_round_within_115_days_is_longer_than_the_longest_that_was_reckoned_with(tokenizer):
    prompt = robot(tokenizer)
    longest = {s.role: len(s.ids) for s in prompt.longest_round(9)}
    for start in (0, 59, 3600, 10**6 + 0.3, 10**7 - 2):
        parts = by_role(prompt.round(3, start, (1, 3, 3), opening=False))
        assert all(len(ids) <= longest[role] for role, ids in parts.items())
    assert len(parts[Role.TIME]) == longest[Role.TIME]
    reply = prompt.ended(prompt.reply(0, [5] * prompt._settings.max_new_tokens))
    assert len(reply.ids) == longest[Role.REPLY]


@pytest.mark.parametrize(
    ('start', 'changes', 'said'),
    [
        (0, {}, 'Time=0.0-1.0s'),
        (7199, {}, 'Time=7199.0-7200.0s'),
        (7200, {}, 'Time=0.0-1.0s'),
        (86_407.5, {}, 'Time=7.5-8.5s'),
        (10, {'time_range': 10, 'chunk_seconds': 3}, 'Time=1.0-4.0s'),  # 9 s are whole rounds
        (3, {'time_range': 1, 'chunk_seconds': 2}, 'Time=1.0-3.0s'),
        (99, {'time_range': 99}, 'Time=0.0-1.0s'),
        (sum([0.1] * 10), {'time_range': 1, 'chunk_seconds': 0.1, 'fps': 10}, 'Time=0.0-0.1s'),
    ],
)
def test_wrapped_time_begins_again_on_whole_rounds(tokenizer, start, changes, said):
    prompt = robot(tokenizer, time_origin='wrapped', **changes)
    parts = by_role(prompt.round(5, start, (1, 1, 1), opening=False))
    assert tokenizer.decode(parts[Role.TIME]) == said


@given(
    start=st.floats(0, 1e6),
    chunk=st.sampled_from((0.5, 1, 2, 3)),
    span=st.floats(1, 20_000),
)
def test_no_wrapped_header_is_longer_than_the_longest(start, chunk, span):
    prompt = robot(PLAIN, time_origin='wrapped', time_range=span, chunk_seconds=chunk)
    longest = by_role(prompt.longest_round(0))[Role.TIME]
    shown = by_role(prompt.round(0, start, None, opening=False))[Role.TIME]
    assert len(shown) <= len(longest) <= len(by_role(robot(PLAIN).longest_round(0))[Role.TIME])


def test_frames_carry_the_true_time_of_stream(tokenizer):
    for origin in ('stream', 'wrapped'):
        round = robot(tokenizer, time_origin=origin).round(2, 7201.5, (1, 1, 1), opening=False)
        assert [s.seconds for s in round if s.role is Role.VISION] == [(7201.5, 7202.5)]
        assert all(s.seconds is None for s in round if s.role is not Role.VISION)


# -- vision -----------------------------------------------------------------------------------


def test_vision_stands_between_its_markers_one_token_a_patch(tokenizer):
    round = robot(tokenizer).round(2, 2, (4, 3, 5), opening=False)
    (vision,) = [s for s in round if s.role is Role.VISION]
    pads = (tokenizer.video_pad,) * 60
    assert vision.ids == (tokenizer.vision_start, *pads, tokenizer.vision_end)
    assert (vision.grid, vision.round) == ((4, 3, 5), 2)
    assert Role.VISION not in by_role(robot(tokenizer).round(2, 2, None, opening=False))


# -- text is data: it never becomes a marker --------------------------------------------------


@given(query=spoken, told=spoken)
def test_names_of_special_tokens_in_a_users_text_stay_text(query, told):
    prompt = robot(PLAIN, query=query, previous_text=told)
    parts = by_role(prompt.opening())
    assert markers(PLAIN, parts[Role.PREVIOUS]) == []
    assert PLAIN.decode(parts[Role.PREVIOUS]) == told
    if query:
        assert markers(PLAIN, parts[Role.PINNED]) == [PLAIN.turn_start, PLAIN.turn_end]
        assert PLAIN.decode(parts[Role.PINNED]) == f'user\n{query}\n'


@pytest.mark.parametrize('text', ['\nfirst', '\n\n', ' first', 'first\n'])
def test_a_line_feed_at_either_end_of_previous_text_breaks_nothing(tokenizer, text):
    parts = by_role(robot(tokenizer, previous_text=text).opening())
    plain = by_role(robot(tokenizer).opening())
    assert parts[Role.PREVIOUS_OPEN] == plain[Role.PREVIOUS_OPEN]
    assert parts[Role.PREVIOUS_CLOSE] == plain[Role.PREVIOUS_CLOSE]
    assert tokenizer.decode(parts[Role.PREVIOUS]) == text


def test_where_a_line_feed_would_break_the_published_header_it_is_refused(golden, tmp_path):
    """In Qwen's vocabulary two line feeds are one token; here that token is added."""
    folder = tmp_path / 'merging'
    shutil.copytree(golden / 'checkpoint', folder)
    path = folder / 'tokenizer.json'
    content = json.loads(path.read_text())
    content['model']['vocab']['ĊĊ'] = 500
    content['model']['merges'].append(['Ċ', 'Ċ'])
    path.write_text(json.dumps(content))
    merging = ChatTokenizer(folder)
    assert len(merging.encode('\n\n')) == 1
    with pytest.raises(SettingsError, match='begins with a line feed'):
        published(merging, previous_text='\nfirst').opening()
    parts = by_role(robot(merging, previous_text='\nfirst').opening())
    assert merging.decode(parts[Role.PREVIOUS]) == '\nfirst'


# -- the opening ------------------------------------------------------------------------------


def test_the_robot_pins_its_query_and_the_reference_asks_it_once(tokenizer):
    asked = tokenizer.encode('what moves')
    pinned = by_role(robot(tokenizer, query='what moves').opening())[Role.PINNED]
    assert pinned[-2 - len(asked) : -2] == asked
    once = published(tokenizer, query='what moves')
    assert Role.PINNED not in by_role(once.opening())
    assert by_role(once.round(0, 0, None, opening=True))[Role.TAIL][: len(asked)] == asked
    assert len(by_role(once.round(1, 1, None, opening=False))[Role.TAIL]) == 2
    assert Role.PINNED not in by_role(robot(tokenizer, query='').opening())


@pytest.mark.parametrize(('sink', 'window'), [(3, 4), (0, 5), (6, 0), (0, 0), (500, 500)])
def test_long_previous_text_is_cut_before_it_is_read_except_as_published(tokenizer, sink, window):
    told = 'the red ball moves left and right and left again and out of the frame'
    limits = {'text_sink': sink, 'text_window': window, 'previous_text': told}
    words = tokenizer.encode(told)
    assert 10 < len(words) < 1000
    kept = by_role(robot(tokenizer, **limits).opening())[Role.PREVIOUS]
    if sink + window >= len(words):
        assert kept == words
    else:
        assert kept == words[:sink] + words[len(words) - window :]
    assert by_role(published(tokenizer, **limits).opening())[Role.PREVIOUS] == words
    free = robot(tokenizer, previous_text=told, text_sink=None)
    assert by_role(free.opening())[Role.PREVIOUS] == words


# -- replies ----------------------------------------------------------------------------------


def test_a_reply_is_its_words_without_the_terminator_which_is_known_by_its_token(tokenizer):
    prompt, end = robot(tokenizer), tokenizer.turn_end
    words = tokenizer.encode('the ball ...')
    assert words[-1] == tokenizer.terminator
    assert prompt.text([*words, end]) == 'the ball'
    assert prompt.text([tokenizer.terminator, end]) == ''
    assert prompt.text([end]) == prompt.text([]) == ''
    dots = tokenizer.encode('wait...')  # three dots that are no terminator
    assert tokenizer.terminator not in dots
    assert prompt.text([*dots, end]) == 'wait...'
    assert prompt.content(prompt.reply(0, [*words, end])) == len(words) - 1
    assert prompt.content(prompt.reply(0, [*dots, end])) == len(dots)


def test_a_reply_that_was_cut_off_loses_nothing_but_as_published(tokenizer):
    ids = tokenizer.encode('the ball rolls')
    assert robot(tokenizer).text(ids) == 'the ball rolls'
    assert published(tokenizer).text(ids) == 'the ball r'
    mended, lossy = robot(tokenizer).reply(3, ids), published(tokenizer).reply(3, ids)
    assert mended == lossy == Segment(Role.REPLY, (*ids, tokenizer.turn_end), 3)
    assert robot(tokenizer).content(mended) == len(ids)
    assert published(tokenizer).content(lossy) == len(ids) - 1


def test_a_reply_that_ends_with_another_end_of_text_is_silent_when_it_says_nothing(tokenizer):
    other = next(i for i in tokenizer.special if i != tokenizer.turn_end)
    assert robot(tokenizer).text([tokenizer.terminator, other]) == ''


def test_another_token_that_ended_a_reply_gives_way_to_the_marker(tokenizer):
    other = next(i for i in tokenizer.special if i != tokenizer.turn_end)
    words, end = tokenizer.encode('the ball ...'), tokenizer.turn_end
    ended = robot(tokenizer).reply(1, [*words, other], 'end')
    assert ended.ids == (*words, end)
    assert robot(tokenizer).content(ended) == len(words) - 1
    assert robot(tokenizer).reply(1, [*words, end], 'end').ids == (*words, end)
    assert robot(tokenizer).reply(1, [other], 'end').ids == (end,)
    assert published(tokenizer).reply(1, [*words, other], 'end').ids == (*words, other, end)
    assert robot(tokenizer).reply(1, [*words, other], 'limit').ids == (*words, other, end)


def test_a_reply_is_closed_once_and_gets_its_line_feed_with_the_next_turn(tokenizer):
    prompt, end = robot(tokenizer), tokenizer.turn_end
    assert prompt.reply(1, [7, end]).ids == (7, end)
    assert prompt.reply(1, []).ids == (end,)
    closed = prompt.ended(prompt.reply(1, [7]))
    assert closed.ids == (7, end, *tokenizer.encode('\n'))
    assert prompt.ended(closed) == closed
    for empty in (prompt.reply(1, []), prompt.reply(1, [end]), closed):
        assert robot(tokenizer).content(empty) == empty.ids.index(end)
    assert published(tokenizer).content(prompt.reply(1, [end])) == 0


# -- tokenizers that will not do --------------------------------------------------------------


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r'tokenizer\.json does not exist'):
        ChatTokenizer(tmp_path)


@pytest.mark.parametrize('content', ['', '{}', 'no json'])
def test_a_broken_tokenizer_file_is_named(tmp_path, content):
    (tmp_path / 'tokenizer.json').write_text(content)
    with pytest.raises(TokenizerError, match='is not a tokenizer file'):
        ChatTokenizer(tmp_path)


@pytest.mark.parametrize('name', ['<|im_start|>', '<|video_pad|>'])
def test_a_tokenizer_without_a_layout_token_is_named(golden, tmp_path, name):
    content = json.loads((golden / 'checkpoint' / 'tokenizer.json').read_text())
    content['added_tokens'] = [t for t in content['added_tokens'] if t['content'] != name]
    content['model']['vocab'].pop(name, None)
    (tmp_path / 'tokenizer.json').write_text(json.dumps(content))
    with pytest.raises(TokenizerError) as caught:
        ChatTokenizer(tmp_path)
    assert f'has no token {name}' in str(caught.value)

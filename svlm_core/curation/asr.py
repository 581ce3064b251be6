# SPDX-License-Identifier: Apache-2.0
"""Speech to words with times: by faster-whisper, or as somebody recorded it before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from svlm_core.curation.manifest import digest
from svlm_core.curation.pipeline import Product, Stage
from svlm_core.curation.settings import Transcribing
from svlm_core.curation.transcripts import Recorded, Segment, Transcript, Word
from svlm_core.errors import SettingsError, SourceError


def transcribing(videos: Path, settings: Transcribing) -> Stage:
    """The stage after probing. Raises SettingsError unless it is said where words come from."""
    if settings.transcripts is not None and not settings.speech_model:
        recorded = Recorded(settings.transcripts)
        return Stage(
            'transcribe',
            'probe',
            {'recorded': True},
            lambda name, facts: _product(facts, recorded.transcript(name)),
            lambda name: digest(recorded.content(name)),
        )
    if settings.transcripts is not None or not settings.speech_model:
        raise SettingsError(
            'say where words come from, in one way: --transcripts DIR reads those of whisperX or '
            'LiveCC, --speech-model NAME lets faster-whisper listen'
        )
    listener = Whisper(settings)
    heard = {key: value for key, value in asdict(settings).items() if key != 'transcripts'}
    return Stage(
        'transcribe',
        'probe',
        heard,
        lambda name, facts: _product(facts, listener.transcript(videos / name)),
        computes=settings.device != 'cpu',
    )


class Whisper:
    """faster-whisper, which is loaded with the first video; nothing else is ever fetched."""

    def __init__(self, settings: Transcribing) -> None:
        self._settings = settings
        self._listen: Callable[..., Any] | None = None
        if not _installed():
            raise SettingsError(
                'faster-whisper is not installed: `pip install svlm[asr]`, or give --transcripts'
            )

    def transcript(self, video: Path) -> Transcript:
        """What is said in a video. Raises SourceError when its sound cannot be decoded."""
        self._listen = self._listen or self._load()
        options: dict[str, Any] = {'language': self._settings.language or None}
        if self._settings.batch > 1:
            options['batch_size'] = self._settings.batch
        else:  # a sentence misheard once would be repeated for minutes
            options['condition_on_previous_text'] = False
        try:
            found, about = self._listen(
                str(video), word_timestamps=True, vad_filter=True, **options
            )
            segments = tuple(
                Segment(
                    _rounded(segment.start),
                    _rounded(segment.end),
                    tuple(_word(word) for word in segment.words or ()),
                )
                for segment in found
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError(f'{video} cannot be transcribed: {error}') from error
        return Transcript(about.language, segments)

    def _load(self) -> Callable[..., Any]:
        import faster_whisper

        settings = self._settings
        try:
            model = faster_whisper.WhisperModel(
                settings.speech_model, device=settings.device, compute_type=settings.compute_type
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise SettingsError(
                f'--speech-model {settings.speech_model} cannot be loaded: {error}'
            ) from error
        if settings.batch > 1:
            return faster_whisper.BatchedInferencePipeline(model=model).transcribe
        return model.transcribe


def _installed() -> bool:
    try:
        import faster_whisper  # noqa: F401
    except ImportError:
        return False
    return True


def _word(word: Any) -> Word:
    return Word(
        _rounded(word.start), _rounded(word.end), word.word.strip(), _rounded(word.probability)
    )


def _rounded(value: float) -> float:
    """As JSON, to the millisecond; a numpy number becomes one of Python."""
    return round(float(value), 3)


def _product(facts: Any, transcript: Transcript) -> Product:
    words = sum(len(segment.words) for segment in transcript.segments)
    reason = '' if words else 'nothing is said in it'
    content = {**facts, **transcript.to_json()}
    counts = {'segments': len(transcript.segments), 'words': words}
    return Product(content, counts, reason)

"""Synthetic speech from espeak-ng: text and a manner of speaking in, samples out.

The library comes with the package ``espeakng-loader`` and is called through ctypes.
It keeps its state in global variables (one voice at a time), and its noise generator
runs on from clip to clip. `speak_all` therefore works in one fresh process: the
caller's process stays untouched, and the same list gives the same samples every time.
"""

import ctypes
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sercorr.errors import InputError

# Numbers from espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_OK = 0
_NOISE_SEED = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Utterance:
    """What to say, and how.

    Arguments
    ---------
    text : str
        One sentence.
    voice : str
        A language and a variant of espeak-ng, such as ``en-us+f3``.
    rate : int
        Words a minute, 80 to 450; a plain reading has 175.
    pitch : int
        Base pitch of the voice, 0 to 100; 50 is the voice's own.
    pitch_range : int
        Liveliness of the melody, 0 (monotone) to 100; 50 is the voice's own.
    volume : int
        Linear in amplitude, 1 to 200; 100 is the library's own. Above that it
        limits peaks.

    Example
    -------
    >>> Utterance("Good morning.", "en-us+f3", 175, 50, 120, 60)
    Traceback (most recent call last):
    ...
    ValueError: pitch_range must be from 0 to 100 (got 120)
    """

    text: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int
    volume: int

    def __post_init__(self) -> None:
        limits = {
            "rate": (80, 450),
            "pitch": (0, 100),
            "pitch_range": (0, 100),
            "volume": (1, 200),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high} (got {value})")


class EspeakSynthesiser:
    """The espeak-ng library, started once in this process.

    Raises `InputError` where the library is missing or does not start.
    """

    def __init__(self) -> None:
        self._library, data_folder = _load_library()
        self._samples = bytearray()
        # The library keeps a pointer to the callback: it must live as long as this.
        self._callback = _Callback(self._collect)
        self.sample_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, data_folder.encode(), _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise InputError(
                f"espeak-ng does not start with its data at {data_folder} "
                f"(status {self.sample_rate}); install it again: {_REMEDY}"
            )
        # Starting the library seeds its noise generator with the time of day.
        self._library.espeak_ng_SetRandSeed(_NOISE_SEED)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, utterance: Utterance) -> np.ndarray:
        """Synthesise one utterance.

        Returns
        -------
        numpy.ndarray
            int16, shape (samples,), at `sample_rate` Hz.
        """
        library = self._library
        self._check(
            library.espeak_SetVoiceByName(utterance.voice.encode()),
            f"set the voice {utterance.voice!r}",
        )
        for parameter, value in (
            (_RATE, utterance.rate),
            (_VOLUME, utterance.volume),
            (_PITCH, utterance.pitch),
            (_RANGE, utterance.pitch_range),
        ):
            self._check(
                library.espeak_SetParameter(parameter, value, 0),
                f"set parameter {parameter} to {value}",
            )
        text = utterance.text.encode() + b"\0"
        self._samples.clear()
        self._check(
            library.espeak_Synth(
                text, len(text), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            ),
            f"say {utterance.text!r}",
        )
        self._check(library.espeak_Synchronize(), f"finish {utterance.text!r}")
        return np.frombuffer(bytes(self._samples), dtype=np.int16)

    def _collect(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0  # go on

    @staticmethod
    def _check(status: int, action: str) -> None:
        if status != _OK:
            raise RuntimeError(f"espeak-ng could not {action} (status {status})")


def speak_all(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    """Synthesise a list in one fresh process, in order.

    Arguments
    ---------
    utterances : sequence of Utterance
        The same list gives the same samples, whatever was said before.

    Returns
    -------
    iterator
        Of int16 samples, shape (samples,), and their sample rate in Hz.
    """
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        max_workers=1, mp_context=context, initializer=_ignore_interruptions
    )
    try:
        yield from executor.map(_speak_in_worker, utterances)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_REMEDY = "pip install espeakng-loader==0.2.4"
_worker_synthesiser: list[EspeakSynthesiser] = []


def _ignore_interruptions() -> None:
    """Leave Ctrl-C, which reaches both processes, to the one that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _speak_in_worker(utterance: Utterance) -> tuple[np.ndarray, int]:
    if not _worker_synthesiser:
        _worker_synthesiser.append(EspeakSynthesiser())
    synthesiser = _worker_synthesiser[0]
    return synthesiser.speak(utterance), synthesiser.sample_rate


def _load_library() -> tuple[ctypes.CDLL, str]:
    """Open the library and declare the functions used; also give its data folder."""
    try:
        import espeakng_loader  # noqa: PLC0415 (only the demo needs it)

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_folder = espeakng_loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"the demo's speech is made by espeak-ng, which is missing ({error}); "
            f"install it: {_REMEDY}"
        ) from None
    integer, text = ctypes.c_int, ctypes.c_char_p
    unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
    signatures = {
        "espeak_Initialize": [integer, integer, text, integer],
        "espeak_SetSynthCallback": [_Callback],
        "espeak_ng_SetRandSeed": [ctypes.c_long],
        "espeak_SetVoiceByName": [text],
        "espeak_SetParameter": [integer, integer, integer],
        "espeak_Synth": [
            *(text, ctypes.c_size_t, unsigned, integer),
            *(unsigned, unsigned, pointer, pointer),
        ],
        "espeak_Synchronize": [],
    }
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = None if name == "espeak_SetSynthCallback" else integer
    return library, data_folder

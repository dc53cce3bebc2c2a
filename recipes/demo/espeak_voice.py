"""Synthetic speech from espeak-ng: text and a manner of speaking in, samples out.

The library comes with the package ``espeakng-loader`` and is called through ctypes.
It keeps its state in global variables (one voice at a time), and its noise generator
runs on from clip to clip. `speak_all` therefore works in one fresh process: the
caller's process stays untouched, and the same list gives the same samples every time.
"""

import ctypes
import functools
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sercorr.errors import InputError

# Numbers from espeak-ng's speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_BY_CHARACTER, _UTF8 = 1, 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Utterance(NamedTuple):
    """What to say, and how.

    ``voice`` is a language and a variant of espeak-ng, such as ``en-us+f3``; ``rate``
    is in words a minute (a plain reading has 175); ``pitch`` and ``pitch_range``
    (liveliness of the melody) go from 0 to 100, 50 being the voice's own; ``volume``
    is linear in amplitude, 100 being the library's own.
    """

    text: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int
    volume: int


class EspeakSynthesiser:
    """The espeak-ng library, started once in this process."""

    def __init__(self) -> None:
        try:
            import espeakng_loader  # noqa: PLC0415 (only the demo needs it)

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path().encode()
            start = self._library.espeak_Initialize
            self.sample_rate: int = start(_SYNCHRONOUS, 0, data, _DONT_EXIT)
            if self.sample_rate <= 0:
                raise RuntimeError(f"its status is {self.sample_rate}")
        except (ImportError, OSError, RuntimeError) as error:
            raise InputError(
                "the demo's speech is made by espeak-ng, which is missing or does not "
                f"start ({error}); install it: pip install espeakng-loader==0.2.4"
            ) from None
        self._samples = bytearray()
        # The library keeps a pointer to the callback: it must live as long as this.
        self._callback = _Callback(self._collect)
        # Starting the library seeds its noise generator with the time of day.
        self._call("espeak_ng_SetRandSeed", ctypes.c_long(1))
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, said: Utterance) -> np.ndarray:
        """Synthesise one utterance: int16, (samples,), at `sample_rate` Hz."""
        self._call("espeak_SetVoiceByName", said.voice.encode())
        manner = (said.rate, said.volume, said.pitch, said.pitch_range)
        for name, value in zip((_RATE, _VOLUME, _PITCH, _RANGE), manner, strict=True):
            self._call("espeak_SetParameter", name, value, 0)
        text = said.text.encode() + b"\0"
        size = ctypes.c_size_t(len(text))
        self._samples.clear()
        self._call("espeak_Synth", text, size, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        self._call("espeak_Synchronize")
        return np.frombuffer(bytes(self._samples), dtype=np.int16)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name}{arguments} failed with status {status}")

    def _collect(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0  # go on


def speak_all(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    """Synthesise a list in one fresh process, in order.

    The same list gives the same samples, whatever was said before: int16, (samples,),
    each with their sample rate in Hz.
    """
    executor = ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        # Ctrl-C reaches both processes; it is for the one that asked
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield from executor.map(_speak_in_worker, utterances)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _speak_in_worker(utterance: Utterance) -> tuple[np.ndarray, int]:
    return _synthesiser().speak(utterance), _synthesiser().sample_rate


_synthesiser = functools.cache(EspeakSynthesiser)  # one in each process

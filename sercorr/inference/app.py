"""``sercorr app``: a page to drop or record a file on, and to look at the answer.

The page asks nothing of other hosts. Recordings lie in a temporary folder, an hour or
two each, and answers in the page alone: its picture and its CSV are in the HTML.
"""

import argparse
import errno
import html
import math
import os
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from typing import Any

from sercorr.errors import InputError
from sercorr.inference.loading import load_chosen
from sercorr.inference.page import Options, analyse, result_html
from sercorr.inference.predictor import Predictor
from sercorr.inference.windows import window_samples

_LIFETIME = 3600  # seconds after which an upload is deleted, looked for as often
_AT_ONCE = 4  # recordings that are computed in turns
_WAITING = 32  # more that may wait

_LIMITS = """\
Every sound gets one of these labels: noise, music and other emotions, too. The labels
are what speakers were asked to act or what listeners heard, not what a person feels.
Other voices, languages and microphones than those of the training bring more errors,
and probabilities are not calibrated. It is for research, not to decide about people.
"""

_CLIP, _TIMELINE = "Sounds", "Sounds, on average"
_WELCOME = "Drop a file or record something: the answer appears here."

# The browser says how wide a picture is and on which ground.
_LOOK = """(file, _) => [file, {
  width: document.getElementById('sercorr').clientWidth,
  dark: document.body.classList.contains('dark')}]"""

_STYLE = """
#sercorr .html-container { padding: 0; }
#sercorr img { width: 100%; height: auto; border-radius: 8px; }
#sercorr .note { padding: 12px 16px; overflow-wrap: anywhere; }
#sercorr .problem { border-left: 6px solid #D55E00; }
#sercorr a.download { display: inline-block; margin-top: 12px; padding: 8px 16px;
  border-radius: 8px; text-decoration: none; font-weight: 600;
  color: var(--button-secondary-text-color);
  background: var(--button-secondary-background-fill); }
#sercorr a.download:hover { background: var(--button-secondary-background-fill-hover); }
"""


def build_app(
    recognizer: Predictor, options: Options, max_megabytes: float = 200.0
) -> Any:
    """Build the page; `app_command` serves it.

    Arguments
    ---------
    recognizer : Predictor
        The model.
    options : Options
        How recordings are answered.
    max_megabytes : float
        The largest upload, for the text of the page.

    Returns
    -------
    gradio.Blocks
        Not yet launched.

    Raises
    ------
    InputError
        Gradio is missing, or the window or hop is not usable.
    """
    window_samples(options.window, options.hop, recognizer.min_samples)
    gr = _import_gradio()

    def clear() -> tuple:
        hidden = gr.update(visible=False)
        return gr.update(value=_note(_WELCOME), visible=True), hidden, hidden

    def answer(file: str | None, look: dict[str, Any]) -> Iterator[tuple]:
        hidden = gr.update(visible=False)
        if file is None:
            yield clear()
            return
        try:
            for found in analyse(recognizer, file, options):
                if isinstance(found, float):
                    note = _note(f"Listening: {100 * found:.0f} %")
                    yield gr.update(value=note, visible=True), hidden, hidden
                else:
                    shown = result_html(found, *_read_look(look))
                    kind = _CLIP if found.hop is None else _TIMELINE
                    label = gr.update(value=found.scores, label=kind, visible=True)
                    yield hidden, label, gr.update(value=shown, visible=True)
        except InputError as error:
            note = _note(f"This recording cannot be used. {error}", "problem")
            yield gr.update(value=note, visible=True), hidden, hidden

    with gr.Blocks(
        title="Emotion in speech",
        analytics_enabled=False,
        delete_cache=(_LIFETIME, _LIFETIME),
    ) as app:
        look = gr.JSON(visible=False)
        with gr.Column(elem_id="sercorr"):
            gr.Markdown("# Emotion in speech")
            with gr.Row():
                audio = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    editable=False,
                    label="A recording",
                    buttons=[],
                )
                with gr.Column():
                    note = gr.HTML(_note(_WELCOME))
                    label = gr.Label(
                        label=_CLIP,
                        num_top_classes=len(recognizer.labels),
                        visible=False,
                    )
            picture = gr.HTML(visible=False)
            gr.Markdown(_about(recognizer, options, max_megabytes))
        outputs = [note, label, picture]
        event = audio.change(
            answer,
            [audio, look],
            outputs,
            js=_LOOK,
            show_progress="minimal",
            concurrency_limit=_AT_ONCE,
            api_visibility="private",
        )
        audio.clear(clear, outputs=outputs, cancels=[event], api_visibility="private")
    return app.queue(max_size=_WAITING)


def app_command(given: argparse.Namespace) -> int:
    """Serve the page until it is interrupted from the keyboard.

    Arguments
    ---------
    given : argparse.Namespace
        The options of ``sercorr app``.

    Returns
    -------
    int
        The exit status, 0.

    Raises
    ------
    InputError
        Gradio is missing, the model cannot be loaded, a limit is not usable, or the
        address cannot be served.
    """
    for name in ("max_megabytes", "max_minutes"):
        value = getattr(given, name)
        if not 0 < value < math.inf:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is {value}; it must be more than 0")
    port = _find_port(given.host, given.port)
    with tempfile.TemporaryDirectory(prefix="sercorr-app-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when Gradio is imported
        _import_gradio()  # before the model, which takes longer
        recognizer = load_chosen(given)
        options = Options(given.window, given.hop, given.silence, given.max_minutes)
        app = build_app(recognizer, options, given.max_megabytes)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _launch(app, given.host, port, given.max_megabytes)
            host = "127.0.0.1" if given.host == "0.0.0.0" else given.host
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            print(f"{address} shows the page; Ctrl-C ends it", flush=True)
            if given.open:
                webbrowser.open(address)
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
        finally:
            app.close(verbose=False)
    return 0


def _launch(app: Any, host: str, port: int, max_megabytes: float) -> None:
    """Serve the page from a thread, without what Gradio would send or show besides."""
    gr = _import_gradio()
    fonts = ["system-ui", "sans-serif"]  # Gradio's own come from Google
    for name in ("no_proxy", "NO_PROXY"):  # Gradio asks whether its page is there
        hosts = [os.environ.get(name), host, "localhost,127.0.0.1"]
        os.environ[name] = ",".join(filter(None, hosts))
    app.launch(
        server_name=host,
        server_port=port,
        max_file_size=round(max_megabytes * 2**20),
        theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
        css=_STYLE,
        app_kwargs={"openapi_url": None},
        footer_links=[],
        share=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        quiet=True,
        prevent_thread_lock=True,
    )


def _import_gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: PLC0415
    except ImportError:
        raise InputError(
            "the page needs Gradio, which is not installed: pip install 'sercorr[app]'"
        ) from None
    return gradio


def _find_port(host: str, port: int) -> int:
    """Make sure that an address can be served; choose a free port for 0."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return trial.getsockname()[1]
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise InputError(
                f"port {port} is in use, perhaps by another page; give another one "
                "with --port, or --port 0 for any free one"
            ) from None
        raise InputError(
            f"{host}, port {port}: cannot be served ({error}); give another --host or "
            "--port"
        ) from None


def _read_look(look: Any) -> tuple[float, bool]:
    """Width in inches and darkness of the page, as far as the browser says them."""
    given = look if isinstance(look, dict) else {}
    width = given.get("width")
    pixels = width if isinstance(width, (int, float)) else 1000
    return min(max(pixels, 300), 1400) / 96, given.get("dark") is True


def _note(text: str, kind: str = "") -> str:
    return f'<div class="note {kind}" role="status">{html.escape(text)}</div>'


def _about(recognizer: Predictor, options: Options, max_megabytes: float) -> str:
    """Say in Markdown what the model is, what the page takes and its limits."""
    name = recognizer.name  # visitors need not know in which folder it is
    name = os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name
    return (
        f"**Model** `{name}`: {', '.join(recognizer.labels)}. "
        f"**Recordings** of up to {options.max_minutes:g} minutes and "
        f"{max_megabytes:g} MB; one over {options.longest_clip:g} seconds gets a "
        f"timeline. They stay on the machine that serves this page and are deleted "
        f"after one to two hours.\n\n**Limits** {_LIMITS}"
    )

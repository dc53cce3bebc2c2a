"""``sercorr export``: a trained head as a folder to share, or as an ONNX file."""

import argparse
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save

from sercorr.errors import InputError
from sercorr.files import (
    atomic_folder,
    file_digest,
    require_new_folder,
    write_json,
    write_text,
)
from sercorr.inference.loading import load_chosen
from sercorr.inference.model_card import model_card
from sercorr.inference.parts import ModelParts
from sercorr.inference.pretrained import FORMAT, SETTINGS, UPSTREAM
from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.lobes.described import describe_head
from sercorr.lobes.upstream import Upstream, UpstreamInfo
from sercorr.lobes.upstream.model_files import find_model

_ELSEWHERE = ("upstream_source", "upstream_revision", "folds")  # not under "about"


def export_folder(
    parts: ModelParts, out: str | os.PathLike, with_upstream: bool = False
) -> None:
    """Write heads as a folder that `EmotionRecognizer.from_pretrained` reads.

    The folder appears whole or not at all; the same parts give the same bytes.

    Arguments
    ---------
    parts : ModelParts
        From `read_run` or `read_pretrained`.
    out : path
        A new folder.
    with_upstream : bool
        Put the upstream's own files there, too, instead of only its name.

    Raises
    ------
    InputError
        Something is at ``out``; or head or upstream are classes of one's own, which
        could not be built without running code.
    """
    described, info = describe_parts(parts), parts.upstream.info
    folds: list[Any] = list(parts.about.get("folds") or [None] * len(parts.heads))
    with atomic_folder(out) as folder:
        heads = []
        for place, (fold, head) in enumerate(zip(folds, parts.heads, strict=True), 1):
            path = folder / f"head_{place if fold is None else fold}.safetensors"
            tensors = head.state_dict()
            path.write_bytes(
                save({key: t.cpu().contiguous() for key, t in tensors.items()})
            )
            heads.append({"file": path.name, "sha256": file_digest(path), "fold": fold})
        if with_upstream:
            _copy_upstream(info, folder / UPSTREAM)
        write_json(
            folder / SETTINGS,
            {
                "format": FORMAT,
                "labels": parts.labels,
                "heads": heads,
                "head": described,
                "upstream": {
                    **_origin(parts),
                    **info.at_precision(parts.features["precision"]).identity(),
                },
                "features": parts.features,
                "about": {k: v for k, v in parts.about.items() if k not in _ELSEWHERE},
            },
        )
        write_text(folder / "README.md", model_card(parts))


def export_command(given: argparse.Namespace) -> int:
    """Run ``sercorr export`` and say what was written, and what can be done with it."""
    out = Path(given.out)
    if given.with_upstream and given.format != "sercorr":
        raise InputError(
            f"--with-upstream is for --format sercorr: {given.format} always holds "
            "the upstream; leave it out"
        )
    if given.format == "onnx":
        out = out if out.suffix == ".onnx" else out / "model.onnx"
        if out.exists():
            raise InputError(f"{out}: is there already; remove it, or choose another")
    elif out.suffix == ".onnx":
        raise InputError(
            f"{out}: --format {given.format} writes a folder; add --format onnx, or "
            "choose another name"
        )
    else:
        require_new_folder(out)
    recognizer = load_chosen(given)
    if not isinstance(recognizer, EmotionRecognizer):
        raise InputError(f"{given.model}: exported already; give the run instead")
    parts = recognizer.parts
    if given.format == "onnx":
        from sercorr.inference.onnx_export import export_onnx  # noqa: PLC0415

        export_onnx(parts, out)
    elif given.format == "transformers":
        from sercorr.inference.transformers_export import (  # noqa: PLC0415
            export_transformers,
        )

        print(export_transformers(parts, out))
    else:
        export_folder(parts, out, given.with_upstream)
    _report(parts, out, given)
    return 0


def describe_parts(parts: ModelParts) -> dict[str, Any]:
    """Describe the heads as `describe_head` does, or raise `InputError`."""
    first, *others = [describe_head(head) for head in parts.heads]
    if first is None or not isinstance(parts.upstream, Upstream):
        what = "head or pooling" if first is None else "upstream"
        raise InputError(
            f"{parts.name}: its {what} is a class of one's own, but loading an "
            "exported folder runs no code; share the run's folder with that class, or "
            "use --format onnx"
        )
    if any(other != first for other in others):
        raise InputError(
            f"{parts.name}: its folds have different heads; choose one with --fold"
        )
    return first


def _origin(parts: ModelParts) -> dict[str, Any]:
    """Say where the upstream was when the head was trained."""
    return {
        "source": parts.about.get("upstream_source") or parts.upstream.info.source,
        "revision": parts.about.get("upstream_revision"),
    }


def _copy_upstream(info: UpstreamInfo, folder: Path) -> None:
    """Copy an upstream's files as they are: its digest stays that of the head's."""
    if info.model_type == "fbank":  # has no files
        return
    files = find_model(info.source, None, info.revision)
    weights = [path.name for path in files.weights]
    kind = (
        "model.safetensors" if weights[0].endswith("tensors") else "pytorch_model.bin"
    )
    index = [] if weights == [kind] else [f"{kind}.index.json"]
    folder.mkdir()
    for name in ["config.json", "preprocessor_config.json", *weights, *index]:
        if (files.folder / name).is_file():
            shutil.copyfile(files.folder / name, folder / name)


def _report(parts: ModelParts, out: Path, given: argparse.Namespace) -> None:
    paths = [out] if out.is_file() else sorted(p for p in out.rglob("*") if p.is_file())
    size = sum(path.stat().st_size for path in paths)
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    heads = "1 head" if len(parts.heads) == 1 else f"{len(parts.heads)} heads"
    print(
        f"{out}: {heads} of {parts.name}, {amount} in {len(paths)} file"
        + "s" * (len(paths) > 1)
    )
    quoted = shlex.quote(str(out))
    source, alone = (
        _origin(parts),
        given.format == "sercorr" and not given.with_upstream,
    )
    if alone and source["revision"] is None and source["source"] != "fbank":
        print(
            f"note: its upstream is the folder {source['source']}, which others do not "
            "have: --with-upstream puts it in"
        )
    print(f"try it:    sercorr predict CLIP.wav --model {quoted}")
    if out.is_dir():
        print(f"share it:  hf upload USER/NAME {quoted}")

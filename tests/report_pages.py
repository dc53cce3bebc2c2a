"""Small reports, and what they are made of. No test is here."""

from pathlib import Path

from releases import make_release
from runs import train

from sercorr.cli import make_parser


def report(folder: Path, out: Path, *options: object) -> str:
    """Run the command; return the page."""
    words = ["report", folder, "--outfile", out, "--device", "cpu", *options]
    given = make_parser().parse_args(list(map(str, words)))
    given.run(given)
    return out.read_text(encoding="utf-8")


def train_heads(root: Path) -> tuple[Path, Path]:
    """Train two heads of two seeds on one fold; give their folder and the release."""
    release = make_release(root / "release", 8)
    for pooling in ("attentive_corr", "mean"):
        for seed in (1, 2):
            train(
                release,
                root / "runs" / pooling / f"seed_{seed}",
                pooling=pooling,
                seed=seed,
                manifest_folder=root / "manifests",
            )
    return root / "runs", release

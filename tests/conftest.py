"""Settings and fixtures of all tests; nothing is ever downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Models this small gain nothing from threads, and last bits depend on their number:
# runs of this process are compared with those of programs that it starts.
os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from models import FAMILIES, NORMS, build_model


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Folders of six tiny random models, keyed by family and convolution norm."""
    root = tmp_path_factory.mktemp("models")
    return {
        (family, norm): build_model(root / f"{family}-{norm}", family, norm)
        for family in FAMILIES
        for norm in NORMS
    }


@pytest.fixture(scope="session")
def real_release() -> Path:
    """Folder of real recordings in IEMOCAP's layout."""
    folder = os.environ.get("SERCORR_TEST_RELEASE")
    if not folder:
        pytest.skip(
            "SERCORR_TEST_RELEASE is not set; it names a release of real recordings"
        )
    if not Path(folder).is_dir():
        pytest.fail(f"SERCORR_TEST_RELEASE is {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def trained_heads(tmp_path_factory) -> tuple[Path, Path]:
    """Folder of two heads of two seeds on one fold, and of their recordings."""
    from report_pages import train_heads

    return train_heads(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def report_page(trained_heads, tmp_path_factory) -> Path:
    """The report of these heads."""
    from report_pages import report

    out = tmp_path_factory.mktemp("page") / "report.html"
    report(trained_heads[0], out, "--head", "attentive_corr", "--clips", 3)
    return out


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved."""
    figures = []
    savefig = Figure.savefig

    def save(figure, *arguments, **options):
        figures.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    return figures

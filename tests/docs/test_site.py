"""The site of the docs: built strictly, so that every link and anchor leads somewhere, and without a network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import kerasdl

ROOT = Path(__file__).parents[2]
# What a browser loads by itself, as opposed to links that a reader follows.
LOADED = re.compile(r"<(?:script|img|iframe|link(?![^>]*rel=.?canonical))[^>]*?(?:src|href)=.?(https?:)?//", re.I)


def test_the_site_is_built_with_search_and_api_and_loads_nothing_from_elsewhere(tmp_path):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    pages = {path.name: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "readme.html", "exporting.html", "kerasdl.train.html"} <= pages.keys()
    for name, text in pages.items():
        assert not LOADED.search(text), name
        assert "fonts.googleapis" not in text, name
    for name in ("fit", "RunConfig", "sweep"):
        assert name in kerasdl.train.__all__
        assert f"kerasdl.train.{name}" in pages["kerasdl.train.html"]
    found = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text())["docs"]
    assert any("quantize_aware" in each["text"] for each in found)


def test_lists_and_tables_begin_after_an_empty_line():
    """GitHub shows them without one; mkdocs runs them into the paragraph above."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        before, fenced = "", False
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            fenced ^= line.startswith("```")
            begins = re.match(r"- |\d+\. |\|", line) and not re.match(r"- |\d+\. |  |\|", before)
            assert fenced or not (begins and before.strip() and before[:4] != "<!--"), f"{page.name}:{number}"
            before = line

"""Folder of a study: `study.json` says which trainings it holds, so that no other study mixes with them."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError

STUDY, FORMAT = "study.json", 1


def claim_study(folder: str | os.PathLike, about: Mapping[str, Any], resume: bool) -> Path:
    """Makes the folder of a study, or takes the one that the same study has left.

    Args:
        folder: the folder.
        about: what distinguishes the study, as plain values.
        resume: False removes what an earlier study has left there.

    Returns:
        The folder.

    Raises:
        ArgumentError: the folder holds another study, or something else.
        DataError: its study.json is damaged.
    """
    path, about = Path(folder), json.loads(json.dumps({"format": FORMAT, **about}))
    if path.exists() and not path.is_dir():
        checks.refuse("folder must be a folder", str(path))
    if path.is_dir() and any(path.iterdir()):
        found = read_study(path)
        if not resume:
            shutil.rmtree(path)
        elif found != about:
            odd = next(name for name in {**found, **about} if found.get(name) != about.get(name))
            rule = f"folder must be of the same study; that of {path} has another {odd}"
            checks.refuse(rule, about.get(odd), "Name another folder, or pass resume=False to train all anew.")
    path.mkdir(parents=True, exist_ok=True)
    files.write_json(path / STUDY, about)
    return path


def read_study(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns what the study of a folder is.

    Raises:
        ArgumentError: the folder holds no study.
        DataError: its study.json is damaged.
    """
    path = Path(folder) / STUDY
    if not path.exists():
        checks.refuse("folder must be empty, new, or of a study", str(folder))
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        known = about["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} must say what study it is; reading it failed: {error}.") from error
    if not known:
        raise DataError(f"{path} must be of format {FORMAT}; it is of {about['format']}.")
    return about

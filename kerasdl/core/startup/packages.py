"""Optional packages, imported on first use."""

import importlib
from types import ModuleType

from ..errors import MissingPackageError


def optional(package: str, extra: str) -> ModuleType:
    """Imports and returns an optional package.

    Args:
        package: the name to import.
        extra: the extra of kerasdl that installs it.

    Returns:
        The module.

    Raises:
        MissingPackageError: it is not installed; the text gives the command that installs it.

    Example:
        >>> optional("json", "hub").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise MissingPackageError(
            f"this needs the package {package!r}, which is not installed. Run: pip install 'kerasdl[{extra}]'"
        ) from None

"""Snippets of README and docs: fenced blocks with the comments above them, and commands and calls inside the text.

A comment above a block, which readers do not see, says how the tests treat it:

    <!-- not run: the reason -->                             names, arguments and options are checked, nothing runs
    <!-- tested with: epochs=1 for epochs=15; 2 for 20 -->   the same code runs with smaller numbers
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = {"learn.md", "topics.md", "awkward.md", "applications.md"}
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in GENERATED)]
LANGUAGES = ("python", "sh", "text", "kotlin", "swift", "groovy")
BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


@dataclass
class Block:
    page: str
    line: int
    language: str
    code: str
    reason: str = ""
    changes: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def tested(self) -> str:
        """Returns the code with the smaller numbers of its comment, each of which must stand there once."""
        code = self.code
        for new, old in self.changes:
            assert code.count(old) == 1, f"{self}: {old!r} must stand in the snippet once"
            code = code.replace(old, new)
        return code


def blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page in their order."""
    text, found = page.read_text(), []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        block = Block(page.name, line, match["language"], match["code"])
        rule, _, rest = (match["note"] or "").partition(": ")
        if rule == "not run":
            block.reason = rest
        elif rule == "tested with":
            block.changes = [tuple(change.split(" for ", 1)) for change in rest.split("; ")]
        found.append(block)
    assert len(found) * 2 == len(re.findall("^```", text, flags=re.M)), f"{page.name}: a fence is open, or indented"
    return found


def inline(page: Path) -> list[str]:
    """Returns what stands in single backticks."""
    text = BLOCK.sub("", page.read_text())
    return [" ".join(code.split()) for code in INLINE.findall(text)]


def commands(code: str) -> list[str]:
    """Returns the commands of a shell block, without comments and with continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines) if line]

"""Questions of interviews: each has an answer, and a place that exists."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
ANSWERS = [part for part in (DOCS / "questions.md").read_text().split("\n\n") if part.startswith("**")]


def test_every_question_is_answered_and_shown():
    assert len(ANSWERS) >= 50
    for answer in ANSWERS:
        question = re.match(r"\*\*(.+?)\*\* (.+)", answer.replace("\n", " "))
        assert question, answer[:60]
        links = re.findall(r"\]\(([^)#]+)\)", answer)
        assert links, question[1]
        for link in links:
            assert (DOCS / link).resolve().exists(), f"{question[1]}: {link}"


def test_no_question_stands_twice():
    questions = [answer.split("**")[1].lower() for answer in ANSWERS]
    assert len(set(questions)) == len(questions)

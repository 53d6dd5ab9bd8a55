"""The items of TRIPOD+AI, answered from a run, as a document and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping

from lus_ray.report.blocks import Block, Box, Checklist, ChecklistItem, Document, Paragraph, Section
from lus_ray.report.pack import data_items, limits, method_items, result_items
from lus_ray.report.pack.checklist import ITEMS, SOURCE, STATUSES, Answer, Item
from lus_ray.report.pack.facts import RunFacts

FILLERS = {**data_items.FILLERS, **method_items.FILLERS, **result_items.FILLERS}
"""By number; items without a filler are known to the authors alone."""
HOW_TO_READ = (
    "“filled from the run”: the run records the whole answer. “partly”: it records a part, and the "
    "authors write the rest. “open”: only the authors know the answer. No status means that an "
    "answer is good; read every one before you publish it."
)


def answer_all(facts: RunFacts) -> dict[str, Answer]:
    """An answer for every item, by number."""
    return {
        item.number: FILLERS[item.number](facts) if item.number in FILLERS else Answer()
        for item in ITEMS
    }


def compose(facts: RunFacts, answers: Mapping[str, Answer]) -> Document:
    counts = Counter(answers[item.number].status for item in ITEMS)
    found = tuple((status, f"{counts[status]} of {len(ITEMS)} parts") for status in STATUSES)
    title = facts.contents.title or facts.contents.experiment
    lead: list[Block] = [Box(found, (SOURCE,)), Paragraph(HOW_TO_READ)]
    lead += [Paragraph(text, is_notice=True) for text in limits.warnings(facts)]
    sections = [
        Section(
            name,
            name.lower().replace(" ", "-"),
            (Checklist(tuple(_entry(own, answers) for own in ITEMS if own.section == name)),),
        )
        for name in dict.fromkeys(item.section for item in ITEMS)
    ]
    return Document(f"TRIPOD+AI: {title}", tuple(lead), tuple(sections), limits.RESEARCH_ONLY)


def to_json(answers: Mapping[str, Answer]) -> str:
    items = [
        {
            "number": item.number,
            "section": item.section,
            "topic": item.topic,
            "phase": item.phase,
            "asks": item.asks,
            "status": answers[item.number].status,
            "found": list(answers[item.number].found),
            "write": _left(item, answers[item.number]),
        }
        for item in ITEMS
    ]
    contents = {"checklist": "TRIPOD+AI", "source": SOURCE, "items": items}
    return json.dumps(contents, indent=1, ensure_ascii=False) + "\n"


def _entry(item: Item, answers: Mapping[str, Answer]) -> ChecklistItem:
    answer = answers[item.number]
    return ChecklistItem(
        item.number, item.topic, answer.status, item.asks, answer.found, _left(item, answer)
    )


def _left(item: Item, answer: Answer) -> str:
    return item.write if answer.missing is None else answer.missing

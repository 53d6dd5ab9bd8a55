"""The model card of a run, as a document and as JSON.

Source of the sections: Mitchell et al. 2019, "Model cards for model reporting".
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from lus_ray.data.labels import label_name, label_title
from lus_ray.report import compose as report_compose
from lus_ray.report import detail_tables, formatting, metric_names, result_tables
from lus_ray.report.blocks import (
    Block,
    Cell,
    Details,
    Document,
    Facts,
    Paragraph,
    Points,
    Section,
    Table,
)
from lus_ray.report.pack import data_items, limits, method_items, score_sentences
from lus_ray.report.pack.checklist import Answer
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.models import MainModel
from lus_ray.report.pack.participants import TITLES
from lus_ray.report.pack.wording import between, describe_split, score

USE = (
    "Made for research on methods: to compare models on the same patients and folds.",
    "Users: researchers who know the data and can judge the scores below.",
    "Not for: diagnosis, triage, monitoring or any other decision about a patient; other organs; "
    "patients, devices or settings unlike those below.",
)
ADVICE = (
    "Evaluate a model on patients of the place where you study it before you draw conclusions.",
    "Report intervals over patients beside every score, and the baselines beside every model.",
    "Do not choose between models by the test scores of this card.",
)
HARM = "A wrong prediction can harm a patient if anybody acts on it; nobody may act on one."
ITEMS_OF = {"evaluation": ("16", "20c"), "training": ("7", "11"), "ethics": ("14", "17")}
"""Answers to TRIPOD+AI items that a section repeats."""


@dataclass(frozen=True)
class CardSection:
    title: str
    anchor: str
    blocks: tuple[Block, ...]
    sentences: tuple[str, ...]


def describe(facts: RunFacts, answers: Mapping[str, Answer]) -> tuple[CardSection, ...]:
    """The nine sections of the card."""
    return (
        _details(facts),
        _section("Intended use", "use", (limits.RESEARCH_ONLY, *USE)),
        _factors(facts),
        _metrics(facts, answers),
        _data(facts, answers, "Evaluation data", "evaluation", ("val", "test")),
        _data(facts, answers, "Training data", "training", ("train",)),
        _analyses(facts, answers),
        _section("Ethical considerations", "ethics", _ethics(facts, answers)),
        _section("Caveats and recommendations", "caveats", (*limits.limitations(facts), *ADVICE)),
    )  # fmt: skip


def compose(facts: RunFacts, sections: Iterable[CardSection]) -> Document:
    lead: list[Block] = [report_compose.conclusion_box(facts.contents)]
    lead += [Paragraph(text, is_notice=True) for text in limits.warnings(facts)]
    title = facts.contents.title or facts.contents.experiment
    parts = tuple(Section(own.title, own.anchor, own.blocks) for own in sections)
    return Document(f"Model card: {title}", tuple(lead), parts, limits.RESEARCH_ONLY)


def to_json(facts: RunFacts, sections: Iterable[CardSection]) -> str:
    contents = {
        "title": facts.contents.title or facts.contents.experiment,
        "experiment": facts.contents.experiment,
        "size": facts.contents.size,
        "synthetic": facts.is_synthetic,
        "warnings": limits.warnings(facts),
        "sections": {own.title: list(own.sentences) for own in sections},
        "models": [asdict(model) for model in facts.models],
    }
    return json.dumps(contents, indent=1, ensure_ascii=False) + "\n"


def _section(title: str, anchor: str, sentences: Iterable[str]) -> CardSection:
    texts = tuple(sentences)
    return CardSection(title, anchor, (Points(texts),), texts)


def _details(facts: RunFacts) -> CardSection:
    code = tuple(method_items.code_facts(facts).items())
    trained = tuple(
        (model.name, "; ".join(filter(None, (model.training, model.balance))))
        for model in facts.models
        if model.training or model.balance
    )
    blocks: list[Block] = [Facts(code), _model_table(facts.models)]
    if trained:
        blocks.append(Details("How the models were trained", (Facts(trained),)))
    sentences = tuple(f"{name}: {text}" for name, text in code)
    return CardSection("Model details", "models", tuple(blocks), sentences)


def _model_table(models: Iterable[MainModel]) -> Table:
    own = list(models)
    rows = tuple(
        (
            Cell(metric_names.short_name(model.name, model.label), tuple(_marks(model))),
            Cell(label_name(model.label)),
            Cell(model.network or metric_names.short_name(model.method, model.label)),
            Cell(model.inputs or formatting.ABSENT),
            formatting.number(model.num_parameters, ",d"),
            *(
                Cell(formatting.ABSENT if limits is None else between(limits))
                for limits in (model.num_patients, model.num_clips)
            ),
        )
        for model in own
    )
    columns = (
        "Model", "Predicts", "Built as", "Reads", "Parameters", "Training patients",
        "Training clips",
    )  # fmt: skip
    caption = (
        "Main models, one per fold and seed. Parameters include buffers. "
        "Patients and clips of the training split that are annotated, lowest to highest over folds."
    )
    plain = frozenset(n for n, model in enumerate(own) if model.is_baseline)
    return Table("models", "", columns, rows, caption, plain=plain)


def _marks(model: MainModel) -> Iterable[str]:
    if model.is_baseline:
        yield "baseline"
    if model.leak:
        yield model.leak


def _factors(facts: RunFacts) -> CardSection:
    people = facts.participants
    if people is None:
        return _section(
            "Factors", "factors", ("No cell is finished; the patients are not listed.",)
        )
    known = tuple(
        (f"{TITLES[name]} ({own.unit})", own.text) for name, own in people.everybody.items()
    )
    sentences = tuple(f"{name}: {text}" for name, text in known)
    return CardSection("Factors", "factors", (Facts(known),), sentences)


def _metrics(facts: RunFacts, answers: Mapping[str, Answer]) -> CardSection:
    meanings = tuple(
        pair
        for label in facts.labels
        for pair in metric_names.explain(facts.contents.metrics_of(label), label)
    )
    sentences = (*answers["12e"].found, *answers["15"].found)
    blocks: tuple[Block, ...] = (Points(sentences),)
    if meanings:
        blocks = (*blocks, Details("What the metrics mean", (Facts(meanings),)))
    return CardSection("Metrics", "metrics", blocks, sentences)


def _data(
    facts: RunFacts, answers: Mapping[str, Answer], title: str, anchor: str, names: tuple[str, ...]
) -> CardSection:
    """The splits of every fold, and what the answers say about their clips."""
    splits = tuple(own for own in facts.contents.splits if own.split in names)
    table = detail_tables.cohort_table(replace(facts.contents, splits=splits))
    others = _found(answers, anchor)
    if names == ("train",):
        others = [*data_items.describe_sources(facts), *others]
    sentences = (*map(describe_split, splits), *others)
    return CardSection(title, anchor, (table, Points(tuple(others))), sentences)


def _found(answers: Mapping[str, Answer], name: str) -> list[str]:
    return [text for number in ITEMS_OF[name] for text in answers[number].found]


def _analyses(facts: RunFacts, answers: Mapping[str, Answer]) -> CardSection:
    contents = facts.contents
    blocks: list[Block] = []
    if forest := result_tables.forest(contents, facts.labels):
        blocks.append(forest)
    blocks += [result_tables.main_table(contents, label) for label in facts.labels]
    blocks.append(Paragraph(formatting.caption(result_tables.MAIN, contents)))
    sentences = [
        f"{label_title(model.label)}, {model.name}: {score(model)}." for model in facts.models
    ]
    columns = (*score_sentences.PEOPLE, *score_sentences.CLUSTERS)
    further = (
        *score_sentences.describe_groups(facts, columns),
        *(text for own in facts.evaluations for text in score_sentences.describe_scores(own)),
        *answers["24"].found,
    )
    blocks.append(Details("Groups of patients, other stores, calibration", (Points(further),)))
    return CardSection("Quantitative analyses", "analyses", tuple(blocks), (*sentences, *further))


def _ethics(facts: RunFacts, answers: Mapping[str, Answer]) -> list[str]:
    found = [*_found(answers, "ethics"), HARM]
    if not facts.is_synthetic:
        found.append("The authors name the ethics committee and the consent of the patients.")
    found.append("The pack holds no names of patients, clips or files.")
    return found

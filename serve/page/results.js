"use strict";
// The summary of a response: only what models say that beat chance or a baseline on validation.

const NOTES = {
  ultrasound: "How much the picture looks like lung ultrasound, from 0 to 1. It says nothing about health.",
  probability: "The network's probability, from 0 to 1, that the sign is present. A sign that was trained and has 0.5 "
    + "or more is a finding. The probability is the network's own; it is not the chance that a patient has a disease.",
  auc: "AUC of this sign on patients that the network was not trained on (validation): 100 tells every clip with the sign "
    + "from every clip without it, 50 is chance.",
  untrained: "No training clip had the sign, or every one did. The network cannot know it, so it is never a finding.",
  experts: "Small classifiers that read a network's output for the clip. Only those count that beat the baseline on "
    + "validation patients; the bars are the mean of their probabilities.",
  clipScore: "The scores of the frames as one score for the clip. Each aggregator does this in its own way. Only those "
    + "count that beat the baseline on validation patients, or chance where there is no baseline.",
  attention: "Class activation: which parts of the picture raised the network's output most. It shows what the "
    + "network used, not where disease is.",
};

// The card of a model in a few lines, for an explanation.
function cardLines(models, id) {
  const model = models.find((candidate) => candidate.id === id);
  if (!model || !model.card) return ["What this model was trained on is unknown."];
  return [sentence(model.title), model.card.summary];
}

function isShownGood(models, id) {
  const model = models.find((candidate) => candidate.id === id);
  return Boolean(model && model.card && (model.card.beats_baseline ?? model.card.beats_chance));
}

function summarise(response) {
  const { biomarkers, experts, clip_scores: scores, models } = response;
  return [
    ultrasoundLine(response.lung_ultrasound),
    ...(biomarkers ? [findingsPart(biomarkers, models)] : []),
    ...experts.map((group) => expertPart(group, models)),
    ...(scores.length ? [clipScorePart(scores, models)] : []),
    ...(models.length ? [] : [make("p", {}, "This server has no models yet.")]),
  ];
}

function ultrasoundLine({ likely, score, detector }) {
  return make("p", { className: likely ? "check-line" : "check-line bad" },
    likely ? "Looks like lung ultrasound: " : "Does not look like lung ultrasound: ",
    explain(share(score), NOTES.ultrasound, detector));
}

function part(title, ...children) {
  return make("section", { className: "part" }, make("h3", {}, ...[title].flat()), ...children);
}

function findingsPart(biomarkers, models) {
  const { findings, names, probability, score, trained, reason } = biomarkers;
  const untrained = names.filter((_, k) => !trained[k]);
  const items = findings.map((k) => make("li", {}, make("span", {}, names[k]), bar(probability[k]),
    make("span", { className: "number" }, explain(share(probability[k]), NOTES.probability)),
    make("span", { className: "number soft" }, score[k] === null ? "" : explain(`AUC ${points(score[k])}`, NOTES.auc))));
  const none = reason ? `No findings are shown: ${reason}.` : "None: no trained sign has a probability of 0.5 or more.";
  return part(["Findings ", modelNote(models, biomarkers.model)],
    items.length ? make("ul", { className: "findings" }, ...items) : make("p", {}, none),
    ...(untrained.length ? [make("p", { className: "soft small untrained" },
      explain("Not trained", NOTES.untrained), `: ${untrained.join("; ")}`)] : []));
}

function modelNote(models, id) {
  return make("span", { className: "plain small" }, explain("what the model was trained on", ...cardLines(models, id)));
}

function expertPart({ title, classes, answers, summary, baseline }, models) {
  const counted = answers.filter((expert) => expert.in_summary);
  const note = explain(`${counted.length} of ${plural(answers.length, "expert")} counted`, NOTES.experts,
    baseline && `Baseline: ${baseline}.`);
  return part([`${title} `, make("span", { className: "plain small" }, note)], make("p", {}, summary),
    ...(counted.length ? [classBars(classes, meanOf(counted)),
      make("p", { className: "soft small" }, explain("What they were trained on", cardLines(models, counted[0].model)[1]))] : []));
}

function classBars(classes, probability, neutral = null) {
  return make("ul", { className: "bars" }, ...classes.map((name, k) => make("li", {}, make("span", {}, name),
    bar(probability[k], neutral ? neutral[k] : null),
    make("span", { className: "number" }, share(probability[k])),
    ...(neutral ? [make("span", { className: "number soft" }, `e ${share(neutral[k])}`)] : []))));
}

function clipScorePart(scores, models) {
  const counted = scores.filter((score) => isShownGood(models, score.model));
  const note = explain(`${counted.length} of ${plural(scores.length, "aggregator")} counted`, NOTES.clipScore);
  const title = ["Clip score ", make("span", { className: "plain small" }, note)];
  if (!counted.length) {
    return part(title, make("p", {}, "No aggregator of the frame scores beat the baseline or chance on validation; nothing is summarised."));
  }
  const best = counted.find((score) => score.neutral) || counted[counted.length - 1];
  const same = counted.filter((score) => score.score === best.score).length;
  return part(title, make("p", {},
    `Score ${best.classes[best.score]} by ${best.name}; ${same} of ${counted.length} agree.`));
}

function meanOf(experts) {
  return experts[0].probability.map((_, k) => mean(experts.map(({ probability }) => probability[k])));
}

// ---- legend of the overlay ------------------------------------------------------------------

function overlayLegend({ masks, attention, models }, chosen) {
  if (chosen === "none") return "";
  if (chosen === "masks") return maskTable(masks, models);
  return make("p", { className: "small" }, make("span", { className: "heat", ariaHidden: "true" }),
    `Where the network found its evidence for ${attention.targets[chosen].name}, from little to most. `,
    explain("What this shows", NOTES.attention, ...cardLines(models, attention.model)));
}

function maskTable(masks, models) {
  const columns = ["Class", "Share of picture", ...(masks.uncertainty ? ["Uncertainty (SD)"] : [])];
  const rows = masks.classes.map((name, k) => make("tr", {},
    make("td", {}, swatch(k ? colourOf(masks, k) : null), name),
    make("td", {}, percent(masks.share[k])),
    ...(masks.uncertainty ? [make("td", {}, masks.uncertainty[k].toFixed(3))] : [])));
  return make("div", {}, make("p", { className: "small" }, "Segmentation; ", modelNote(models, masks.model)),
    scrollable("Segmentation", make("table", { className: "classes" }, head(columns), make("tbody", {}, ...rows))));
}

"use strict";
// The folded parts of a response: every sign, expert, aggregator, stage and model.

const FAMILIES = [/tree|forest|boost/i, /vector/, /neighbour/, /perceptron/]; // kinds that belong together

function detailsOf(response) {
  const { biomarkers, experts, clip_scores: scores, models } = response;
  return [
    ...experts.map((group) => expertFold(group, models)),
    ...(biomarkers ? [signsFold(biomarkers)] : []),
    ...(scores.length ? [clipScoresFold(scores, models)] : []),
    clipFold(response),
  ];
}

// ---- experts --------------------------------------------------------------------------------

function expertFold({ label, title, classes, answers }, models) {
  const counted = answers.filter((expert) => expert.in_summary);
  const others = answers.filter((expert) => !expert.in_summary);
  const card = fold(`${title}: every expert`, `${counted.length} in the summary, ${others.length} not`,
    ...(counted.length ? [make("h3", {}, "In the summary"), expertTable(label, title, classes, counted, models)] : []),
    ...(others.length ? [make("h3", {}, "Not in the summary"), expertTable(label, title, classes, others, models)] : []));
  card.classList.add(`expert-${label}`);
  return card;
}

function expertTable(label, title, classes, experts, models) {
  const bodies = [...byFeatures(experts, label)].map(([features, members]) => make("tbody", {},
    make("tr", { className: "source" }, make("th", { scope: "rowgroup", colSpan: classes.length + 1 }, features)),
    ...members.sort((a, b) => familyOf(a) - familyOf(b)).flatMap((expert) => expertRows(expert, classes.length, models))));
  return scrollable(`${title}, experts`, make("table", { className: "experts" }, head(["Expert", ...classes]), ...bodies));
}

// "MLP on biomarkers, severity" is one of the experts "on biomarkers".
function byFeatures(experts, label) {
  const groups = new Map();
  for (const expert of experts) {
    const name = expert.name.endsWith(`, ${label}`) ? expert.name.slice(0, -label.length - 2) : expert.name;
    const features = name.includes(" on ") ? name.slice(name.indexOf(" on ") + 1) : "without features";
    if (!groups.has(features)) groups.set(features, []);
    groups.get(features).push(expert);
  }
  return groups;
}

function familyOf({ kind }) {
  const family = FAMILIES.findIndex((pattern) => pattern.test(kind));
  return family < 0 ? FAMILIES.length : family;
}

function expertRows({ kind, model, probability, reason }, num, models) {
  const most = largestOf(probability);
  const cells = probability.map((p, k) => {
    const cell = make("td", { className: k === most ? "filled most" : "filled" }, share(p));
    cell.style.setProperty("--share", p);
    return cell;
  });
  const row = make("tr", { className: "expert" },
    make("th", { scope: "row" }, explain(kind, ...cardLines(models, model))), ...cells);
  row.dataset.model = model;
  if (!reason) return [row];
  return [row, make("tr", { className: "reason" },
    make("td", { colSpan: num + 1 }, make("span", {}, sentence(reason))))];
}

// ---- signs ----------------------------------------------------------------------------------

function signsFold({ groups, names, probability, trained, score, findings }) {
  const sections = groups.map(({ name, first, count }) => make("section", { className: "group" },
    make("h3", {}, sentence(name).slice(0, -1)),
    make("ul", {}, ...names.slice(first, first + count).map((whole, i) => {
      const k = first + i;
      const short = whole.startsWith(`${name}: `) ? whole.slice(name.length + 2) : whole;
      return signRow(short, probability[k], trained[k], score[k], findings.includes(k));
    }))));
  return fold("All signs", `${findings.length} of ${names.length} are findings`,
    make("p", { className: "soft small" }, "Left number: ", explain("probability", NOTES.probability),
      "; right number: ", explain("AUC", NOTES.auc), "; a tick marks a finding."),
    make("div", { className: "groups" }, ...sections));
}

function signRow(name, probability, trained, score, found) {
  const box = make("span", { className: "box", role: "img", ariaLabel: found ? "finding" : "no finding" });
  const numbers = trained
    ? [bar(probability), make("span", { className: "number" }, share(probability)),
      make("span", { className: "number soft" }, score === null ? "–" : points(score))]
    : [make("span", { className: "untrained" }, explain("not trained", NOTES.untrained))];
  return make("li", { className: found ? "present" : "" }, box, make("span", {}, name), ...numbers);
}

// ---- clip score, clip and time --------------------------------------------------------------

function clipScoresFold(scores, models) {
  const sections = scores.map(({ model, name, classes, probability, score, neutral }) => make("section",
    { className: "score" },
    make("h3", {}, explain(name, ...cardLines(models, model)), make("span", {}, classes[score])),
    make("p", { className: "soft small" }, isShownGood(models, model) ? "in the summary" : "not in the summary"),
    classBars(classes, probability, neutral)));
  const note = make("p", { className: "soft small" }, "The tick on a bar is the learned neutral element e: "
    + "frame probabilities above e raise a class for the clip, those below lower it.");
  return fold("Clip score: every aggregator", plural(scores.length, "aggregator"),
    make("div", { className: "scores" }, ...sections), ...(scores.some((score) => score.neutral) ? [note] : []));
}

function clipFold({ clip, timings_ms: { total, ...stages } }) {
  const spacing = clip.mm_per_pixel ? `${clip.mm_per_pixel.toPrecision(3)} mm per pixel` : "unknown";
  const facts = [["Frames", String(clip.num_frames)], ["Size", `${clip.width} × ${clip.height} pixels`],
    ["Rate", clip.fps ? `${plain(clip.fps)} frames per second` : `unknown, shown at ${FALLBACK_FPS}`],
    ["Spacing", spacing], ["Format", clip.format], ["SHA-256", code(clip.sha256)]];
  const longest = Math.max(...Object.values(stages).map(Number), 1e-9);
  const rows = Object.entries(stages).map(([name, ms]) => make("tr", {}, make("td", {}, name.replaceAll("_", " ")),
    make("td", {}, bar((ms || 0) / longest)), make("td", {}, ms === null ? "–" : ms.toFixed(1))));
  return fold("Clip and time", `${plural(clip.num_frames, "frame")}, ${seconds(total)}`,
    make("div", { className: "two" },
      make("div", {}, make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
        make("ul", { className: "small" }, ...clip.notes.map((note) => make("li", {}, sentence(note))))),
      make("div", {}, make("p", { className: "soft small" }, `${plain(total)} ms in total; some stages run in parallel`),
        make("table", { className: "timings" }, head(["Stage", "", "ms"]), make("tbody", {}, ...rows)))));
}

// ---- models ---------------------------------------------------------------------------------

function modelTable(models) {
  return [head(["Model", "Trained on", "Validation", "Against the baseline", "Fold", "Parity", "Fingerprint"]),
    make("tbody", {}, ...models.map((model) => make("tr", {},
      make("th", { scope: "row" }, model.title, make("span", { className: "soft small" }, model.id)),
      ...cardCells(model.card), make("td", {}, String(model.fold)),
      make("td", {}, typeof model.parity === "number" ? model.parity.toExponential(1) : "–"),
      make("td", {}, code(model.fingerprint)))))];
}

function cardCells(card) {
  if (!card || !card.clips) return ["unknown", "unknown", "unknown"].map((text) => make("td", {}, text));
  const { dataset, synthetic, size, clips, patients, metric, validated, validation_patients: num } = card;
  return [
    make("td", {}, `${dataset}${synthetic ? " (synthetic)" : ""}, ${size} size: ${plural(clips, "clip")} of ${plural(patients, "patient")}`),
    make("td", {}, validated ? `${metricName(metric)} ${interval(validated)} on ${plural(num, "patient")}` : "not validated"),
    make("td", {}, card.difference
      ? `${card.beats_baseline ? "better than" : "not better than"} ${card.baseline}: ${interval(card.difference, signed)} points` : "no baseline"),
  ];
}

function metricName(metric) { return { auc: "AUC", f1: "F1" }[metric] || metric.replaceAll("_", " "); }

function countKinds(models) { // "1 backbone, 7 experts"
  const kinds = models.map(({ kind }) => kind);
  return [...new Set(kinds)].map((kind) => {
    const num = kinds.filter((other) => other === kind).length;
    return plural(num, kind === "frames" ? "frame scorer" : kind);
  }).join(", ");
}

// The live page: polls the counts of all workers, keeps an hour of them, and shows the differences.
"use strict";

const POLL_MS = 5000;
const KEPT_MS = 3600e3;
const LEAST_RECORDS = 20; // of an interval of the chart
const Z = 2.576; // 99% of a normal distribution
const SVG = "http://www.w3.org/2000/svg";
const COUNTS = ["missing", "unseen", "out_of_range"];
const WORDS = { missing: "missing", unseen: "unseen category", out_of_range: "out of range" };

const by = (id) => document.getElementById(id);
let history = []; // {at, counts}, oldest first
let key = null;
let timer = null;

// ---- elements. Names and values are only ever set as text, never parsed as markup.

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function drawing(width, height, title) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${width} ${height}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", title);
  return made;
}

function shape(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function widthOf(target) {
  return Math.max(280, by(target).clientWidth);
}

function table(target, head, rows, texts = [0]) {
  const header = element("tr");
  head.forEach((name, at) => {
    const cell = element("th", name, texts.includes(at) ? "text" : "");
    cell.scope = "col";
    header.append(cell);
  });
  const top = element("thead");
  top.append(header);
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    row.forEach((value, at) => line.append(element("td", value, texts.includes(at) ? "text" : "")));
    body.append(line);
  }
  target.replaceChildren(top, body);
}

function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = 100 * share;
  return `${value === 0 ? "0" : Math.abs(value) < 0.995 ? value.toPrecision(2) : value.toFixed(1)}%`;
}

const number = (value) => Math.round(value).toLocaleString("en");
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

// ---- counts

function difference(now, then) {
  if (!then) return now;
  const columns = {};
  for (const [name, counts] of Object.entries(now.columns)) {
    const before = then.columns[name] ?? { violations: {} };
    columns[name] = { violations: subtract(counts.violations, before.violations) };
    for (const count of COUNTS) columns[name][count] = counts[count] - (before[count] ?? 0);
  }
  return {
    ...now,
    columns,
    records: subtract(now.records, then.records),
    refused: subtract(now.refused, then.refused),
    p_values: now.p_values.map((bin, at) => ({ ...bin, count: bin.count - (then.p_values[at]?.count ?? 0) })),
  };
}

function subtract(now, then) {
  return Object.fromEntries(Object.entries(now).map(([name, count]) => [name, count - (then[name] ?? 0)]));
}

// The share of flagged records among n normal ones is beta-binomial: the threshold is itself a rank of
// `calibration_records` scores. Here with the normal approximation.
function promisedBand(alpha, n, calibrationRecords) {
  if (!n) return null;
  const variance = (alpha * (1 - alpha) * (1 + (n - 1) / (calibrationRecords + 2))) / n;
  const half = Z * Math.sqrt(variance);
  return [Math.max(0, alpha - half), Math.min(1, alpha + half)];
}

function remember(counts) {
  const last = history.at(-1);
  const restarted = last && counts.records.scored < last.counts.records.scored;
  if (restarted) history = [];
  const at = Date.now();
  history.push({ at, counts });
  while (at - history[0].at > KEPT_MS + POLL_MS) history.shift();
}

// ---- what is shown

function show() {
  const last = history.at(-1);
  const { counts } = last;
  const seconds = Number(by("window").value);
  const first = seconds ? (history.find(({ at }) => last.at - at <= seconds * 1000 + POLL_MS / 2) ?? last) : null;
  const shown = difference(counts, first?.counts);
  showStrip(shown, counts);
  showShare(seconds);
  showPValues(shown);
  showColumns(shown, first?.counts);
}

function showStrip(shown, counts) {
  const { scored, flagged, violating } = shown.records;
  by("model").textContent = `${counts.model.model} ${counts.model.digest.slice(0, 19)}`;
  by("model").title = counts.model.digest;
  const [before, now] = history.slice(-2);
  by("rate").textContent = now
    ? number(((now.counts.records.scored - before.counts.records.scored) * 1000) / (now.at - before.at))
    : "–";
  by("scored").textContent = number(scored);
  by("flagged").textContent = percent(flagged / scored);
  by("violating").textContent = percent(violating / scored);
  by("promised").textContent = `at most ${percent(counts.alpha)}`;
  const band = promisedBand(counts.alpha, scored, counts.calibration_records);
  by("band").textContent = band ? `chance: ${percent(band[0])} to ${percent(band[1])}` : "";
  const share = flagged / scored;
  const verdict = by("verdict");
  verdict.textContent = !band ? "" : share > band[1] ? "more than chance explains" : "as promised";
  verdict.className = `note ${band && share > band[1] ? "bad" : "good"}`;
  by("refused").textContent = number(sum(shown.refused));
  by("refusals").textContent = Object.entries(shown.refused)
    .filter(([, count]) => count)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3)
    .map(([code, count]) => `${code} ${number(count)}`)
    .join(", ");
  by("watched").textContent = `Open for ${Math.max(0, Math.round((history.at(-1).at - history[0].at) / 60e3))} min.`;
}

function showShare(seconds) {
  const end = history.at(-1).at;
  const kept = history.filter(({ at }) => !seconds || end - at <= seconds * 1000 + POLL_MS / 2);
  const step = Math.max(1, Math.ceil((kept.length - 1) / 60)); // at most 60 intervals
  const drawn = [];
  for (let from = 0, to = 1; to < kept.length; to += 1) {
    const { scored, flagged } = subtract(kept[to].counts.records, kept[from].counts.records);
    if (to - from < step || scored < LEAST_RECORDS) continue;
    const { alpha, calibration_records: calibration } = kept[to].counts;
    drawn.push({ at: kept[to].at, share: flagged / scored, band: promisedBand(alpha, scored, calibration) });
    from = to;
  }
  if (drawn.length < 2) {
    const needed = `Two intervals of ${POLL_MS / 1000} seconds or more, with ${LEAST_RECORDS} records each, are needed.`;
    by("share").replaceChildren(element("p", needed, "note"));
    return;
  }
  const [width, height, left, bottom, top] = [widthOf("share"), 200, 48, 24, 8];
  const greatest = Math.min(1, 1.05 * Math.max(...drawn.map(({ share, band }) => Math.max(share, band[1]))));
  const latest = drawn.at(-1);
  const svg = drawing(
    width,
    height,
    `Flagged share over time: latest ${percent(latest.share)}, greatest ${percent(Math.max(...drawn.map((p) => p.share)))}`,
  );
  const x = (at) => left + ((width - left - 8) * (at - drawn[0].at)) / (latest.at - drawn[0].at);
  const y = (share) => height - bottom - ((height - bottom - top) * share) / greatest;
  const place = (at, share) => `${x(at).toFixed(1)},${y(share).toFixed(1)}`;
  const edge = [...drawn.map((p) => place(p.at, p.band[1])), ...drawn.toReversed().map((p) => place(p.at, p.band[0]))];
  shape(svg, "polygon", { class: "band", points: edge.join(" ") });
  for (const share of [0, greatest / 2, greatest]) {
    shape(svg, "line", { class: "axis", x1: left, x2: width - 8, y1: y(share), y2: y(share) });
    shape(svg, "text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share));
  }
  shape(svg, "polyline", { class: "share", points: drawn.map((p) => place(p.at, p.share)).join(" ") });
  const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  shape(svg, "text", { x: left, y: height - 6 }, clock(drawn[0].at));
  shape(svg, "text", { x: width - 8, y: height - 6, "text-anchor": "end" }, clock(latest.at));
  by("share").replaceChildren(svg);
}

function showPValues(shown) {
  const total = shown.p_values.at(-1)?.count ?? 0;
  const bins = shown.p_values.map(({ at_most: bound, count }, at, all) => ({
    label: `at most ${bound}`,
    short: String(bound).replace(/^0/, ""),
    share: total ? (count - (all[at - 1]?.count ?? 0)) / total : 0,
    expected: bound - (all[at - 1]?.at_most ?? 0),
  }));
  table(by("p-table"), ["p-value", "records", "expected"], bins.map((b) => [b.label, percent(b.share), percent(b.expected)]));
  if (!total) {
    by("p").replaceChildren(element("p", "No records yet.", "note"));
    return;
  }
  const [width, height, bottom] = [widthOf("p"), 200, 24];
  const svg = drawing(width, height, "Shares of p-values beside those of normal records; the table below has the numbers");
  // Roots of the shares, so that the rare small p-values, which matter, can be seen.
  const scale = (height - bottom - 24) / Math.sqrt(Math.max(...bins.map((b) => Math.max(b.share, b.expected))));
  const step = width / bins.length;
  bins.forEach((bin, at) => {
    const [tall, mark] = [Math.sqrt(bin.share) * scale, height - bottom - Math.sqrt(bin.expected) * scale];
    const x = at * step + 5;
    shape(svg, "rect", { class: "bar", x, y: height - bottom - tall, width: step - 10, height: tall });
    shape(svg, "line", { class: "mark", x1: x - 3, x2: x + step - 7, y1: mark, y2: mark });
    const above = Math.min(height - bottom - tall, mark) - 6;
    shape(svg, "text", { x: x + step / 2 - 5, y: above, "text-anchor": "middle" }, percent(bin.share));
    shape(svg, "text", { x: x + step / 2 - 5, y: height - 6, "text-anchor": "middle" }, bin.short);
  });
  by("p").replaceChildren(svg);
}

function showColumns(shown, before) {
  const share = (count, records) => (records ? count / records : 0);
  const rows = Object.entries(shown.columns).map(([name, counts]) => {
    const earlier = before?.columns[name];
    const shares = [...COUNTS.map((count) => counts[count]), sum(counts.violations)];
    const past = [...COUNTS.map((count) => earlier?.[count] ?? 0), sum(earlier?.violations ?? {})];
    const changes = shares.map((count, at) => share(count, shown.records.scored) - share(past[at], before?.records.scored));
    const change = changes.reduce((most, each) => (Math.abs(each) > Math.abs(most) ? each : most), 0);
    const codes = Object.entries(counts.violations)
      .filter(([, count]) => count)
      .sort((a, b) => b[1] - a[1])
      .map(([code, count]) => `${code} ${number(count)}`);
    return { name, change, shares: shares.map((count) => percent(share(count, shown.records.scored))), codes };
  });
  rows.sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  table(
    by("columns"),
    ["column", "change", ...COUNTS.map((count) => WORDS[count]), "violations", "by check"],
    rows.map((row) => [row.name, (row.change > 0 ? "+" : "") + percent(row.change), ...row.shares, row.codes.join(", ")]),
    [0, 6],
  );
}

// ---- one record

async function score(event) {
  event.preventDefault();
  const answer = by("answer");
  try {
    const response = await fetch("score?explain=all", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...authorization() },
      body: by("record").value,
    });
    const body = await response.json();
    if (response.ok) showAnswer(body);
    else showProblem(body);
  } catch {
    answer.replaceChildren(element("p", "The service does not answer.", "bad"));
  }
  if (!isPaused()) poll();
}

function showProblem(problem) {
  const faults = (problem.errors ?? []).map((error) => error.message ?? String(error));
  const lines = [`${problem.status} ${problem.title}`, ...(faults.length ? faults : [problem.detail ?? ""])];
  by("answer").replaceChildren(...lines.map((line) => element("p", line, "bad")));
}

function showAnswer(body) {
  const [result] = body.results;
  const rest = body.results.length - 1;
  const verdict = element("h3", result.is_anomaly ? "Anomaly" : "Not an anomaly", result.is_anomaly ? "bad" : "good");
  const facts = `p-value ${result.p_value.toPrecision(3)}, alpha ${body.alpha}, score ${result.score.toPrecision(4)}, threshold ${body.threshold.toPrecision(4)}. ${result.reasons.join(", ")}`;
  const parts = [verdict, element("p", facts)];
  if (rest > 0) parts.push(element("p", `${rest} more were scored; the first is shown.`, "note"));
  for (const { column, code, observed, limit } of result.violations) {
    const bound = limit === null ? "" : `, limit ${valueText(limit)}`;
    parts.push(element("p", `Violation: ${column} ${code}, observed ${valueText(observed)}${bound}`, "bad"));
  }
  const wide = element("div", undefined, "wide");
  const values = element("table");
  table(
    values,
    ["column", "observed", "expected", "reason", "contribution"],
    result.contributions.map((c) => [c.column, valueText(c.observed), valueText(c.expected), c.reason ?? "", c.contribution.toFixed(2)]),
    [0, 1, 2, 3],
  );
  wide.append(values);
  by("answer").replaceChildren(...parts, waterfall(result, body.threshold), wide);
}

function valueText(value) {
  return value === null ? "null" : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

function waterfall(result, threshold) {
  const most = 12;
  const bars = result.contributions.slice(0, most).map((c) => [c.column, c.contribution]);
  const others = result.contributions.slice(most).reduce((total, c) => total + c.contribution, 0);
  if (result.contributions.length > most) bars.push([`${result.contributions.length - most} others`, others]);
  bars.push(["latent code", result.latent_contribution]);
  const [width, row, left] = [widthOf("answer"), 24, 130];
  const height = row * (bars.length + 1) + 24;
  const svg = drawing(width, height, "Waterfall of contributions to the score; the table below has the numbers");
  const ends = [0];
  for (const [, value] of bars) ends.push(ends.at(-1) + value);
  const [low, high] = [Math.min(0, threshold, ...ends), Math.max(0, threshold, ...ends)];
  const x = (value) => left + ((width - left - 70) * (value - low)) / (high - low || 1);
  const bar = (at, name, from, to, className) => {
    const y = at * row;
    const label = name.length > 18 ? `${name.slice(0, 17)}…` : name;
    shape(svg, "text", { x: left - 8, y: y + 16, "text-anchor": "end" }, label);
    const [start, end] = [x(Math.min(from, to)), x(Math.max(from, to))];
    shape(svg, "rect", { class: className, x: start, y: y + 4, width: Math.max(1, end - start), height: row - 8 });
    shape(svg, "text", { x: end + 6, y: y + 16 }, String(Number((to - from).toPrecision(3))));
  };
  bars.forEach(([name, value], at) => bar(at, name, ends[at], ends[at + 1], value < 0 ? "down" : "up"));
  bar(bars.length, "score", 0, result.score, "bar");
  const bottom = row * (bars.length + 1);
  shape(svg, "line", { class: "limit", x1: x(threshold), x2: x(threshold), y1: 0, y2: bottom });
  shape(svg, "text", { x: x(threshold), y: bottom + 16, "text-anchor": "middle" }, "threshold");
  return svg;
}

// ---- polling

function authorization() {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

function tell(text, bad) {
  by("state").textContent = text;
  by("state").className = bad ? "bad" : "";
}

async function poll() {
  clearTimeout(timer);
  try {
    const response = await fetch("live.json", { headers: authorization() });
    if (response.status === 401 || response.status === 403) {
      by("key-form").hidden = false;
      const scope = response.status === 403 ? "This key lacks the scope metrics." : "This key is not known.";
      tell(key === null ? "The service asks for a key." : scope, true);
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    by("key-form").hidden = true;
    remember(await response.json());
    show();
    const { workers } = history.at(-1).counts;
    tell(`Live: ${workers} ${workers === 1 ? "worker" : "workers"}, at ${new Date().toLocaleTimeString()}`, false);
  } catch {
    tell("The service does not answer. What is shown is old.", true);
  }
  if (!isPaused()) {
    clearTimeout(timer); // another poll may have ended meanwhile
    timer = setTimeout(poll, POLL_MS);
  }
}

const isPaused = () => by("pause").getAttribute("aria-pressed") === "true";

by("window").addEventListener("change", () => history.length && show());
by("pause").addEventListener("click", () => {
  const paused = !isPaused();
  by("pause").setAttribute("aria-pressed", String(paused));
  by("pause").textContent = paused ? "Resume" : "Pause";
  if (paused) {
    clearTimeout(timer);
    tell("Paused.", false);
  } else poll();
});
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = by("key").value;
  poll();
});
by("try").addEventListener("submit", score);
by("try").addEventListener("reset", () => by("answer").replaceChildren());
poll();

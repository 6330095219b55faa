// The live page: polls the counts of all workers, keeps an hour of them, and shows the differences.

import { breakable, by, drawing, duration, element, largest, meter, number, percent, rate, shape, sum, table, ticks, valueText, waterfall, widthOf } from "./draw.js";
import { showVersions } from "./versions.js";

const POLL_MS = 5000;
const KEPT_MS = 3600e3;
const RATE_MS = 60e3;
const LEAST_RECORDS = 20; // of an interval of the chart
const FEW_COLUMNS = 12;
const FEW_SIGNATURES = 8;
const MOST_CONTRIBUTIONS = 25;
const MOST_FAULTS = 10;
const Z = 2.576; // 99% of a normal distribution
const COUNTS = ["missing", "unseen", "out_of_range"];
const WORDS = { missing: "missing", unseen: "unseen category", out_of_range: "out of range" };

let model = null; // the name of the model that is shown; null for the default one
let history = []; // {at, counts}, oldest first
let key = null;
let timer = null;

// ---- counts

function difference(now, then) {
  if (!then) return now;
  const columns = {};
  for (const [name, counts] of Object.entries(now.columns)) {
    const before = then.columns[name] ?? { violations: {} };
    columns[name] = { violations: subtract(counts.violations, before.violations) };
    for (const count of COUNTS) columns[name][count] = counts[count] - (before[count] ?? 0);
  }
  const counts = { ...now, columns };
  for (const name of ["records", "refused", "signatures", "requests", "seconds"]) counts[name] = subtract(now[name], then[name]);
  counts.p_values = now.p_values.map((bin, at) => ({ ...bin, count: bin.count - (then.p_values[at]?.count ?? 0) }));
  return counts;
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

// Bound of the bucket in which a share of the requests has been answered.
function quantile(seconds, share) {
  const buckets = Object.entries(seconds)
    .map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count])
    .sort((a, b) => a[0] - b[0]);
  const total = buckets.at(-1)?.[1] ?? 0;
  return total ? buckets.find(([, count]) => count >= share * total)[0] : NaN;
}

function remember(counts) {
  const last = history.at(-1);
  const at = Date.now();
  // The service was restarted, or the clock of this machine was set back.
  if (last && (counts.records.scored < last.counts.records.scored || at <= last.at)) history = [];
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
  showModel(counts);
  showStrip(shown, counts);
  showRequests(shown, counts.models.length);
  showShare(seconds);
  showSignatures(shown);
  showColumns(shown, first?.counts);
  showPValues(shown);
}

function showModel(counts) {
  const name = counts.model.model ?? model ?? "";
  by("picker").hidden = counts.models.length < 2;
  const choice = by("model-choice");
  if (choice.childElementCount !== counts.models.length) {
    choice.replaceChildren(...counts.models.map((each) => element("option", each)));
    choice.value = name;
  }
  const digest = counts.model.digest ?? "no version could be loaded";
  by("model").replaceChildren(...(counts.models.length < 2 ? [element("b", name), " "] : []), element("code", digest.slice(0, 19)));
  by("model").title = digest;
  document.title = `${name} – vaegis`;
}

function showStrip(shown, counts) {
  const { scored, flagged, violating } = shown.records;
  const now = history.at(-1);
  const before = history.findLast(({ at }) => now.at - at >= RATE_MS) ?? history[0];
  by("rate").textContent = now === before ? "–" : rate(((counts.records.scored - before.counts.records.scored) * 1000) / (now.at - before.at));
  by("scored").textContent = number(scored);
  const last = history.find(({ counts: each }) => each.records.scored === counts.records.scored);
  const minutes = Math.floor((now.at - last.at) / 60e3);
  by("pause-of-records").textContent = minutes ? `; none for ${minutes} min` : "";
  by("flagged").textContent = percent(flagged / scored);
  by("violating").textContent = percent(violating / scored);
  by("promised").textContent = `≤ ${percent(counts.alpha)}`;
  const band = promisedBand(counts.alpha, scored, counts.calibration_records);
  by("band").textContent = band ? `, by chance ${percent(band[0]).slice(0, -1)}\u2060–\u2060${percent(band[1])}` : "";
  const share = flagged / scored;
  const isBeyond = band !== null && share > band[1];
  const verdict = by("verdict");
  verdict.textContent = !band ? "" : isBeyond ? "more than promised" : "as promised";
  verdict.className = `badge ${isBeyond ? "bad" : "good"}`;
  by("gauge").replaceChildren(...(band ? [gauge(share, counts.alpha, band, isBeyond)] : []));
  by("refused").textContent = number(sum(shown.refused));
  by("refusals").textContent = largest(shown.refused);
  by("watched").textContent = `Open for ${Math.max(0, Math.round((now.at - history[0].at) / 60e3))} min.`;
}

function gauge(share, alpha, band, isBeyond) {
  const [width, height] = [240, 18];
  const most = 1.15 * Math.max(share, band[1]);
  const x = (value) => 4 + ((width - 8) * value) / most;
  const svg = drawing(width, height, `Flagged ${percent(share)}; promised at most ${percent(alpha)}, by chance up to ${percent(band[1])}`);
  shape(svg, "line", { class: "axis", x1: 4, x2: width - 4, y1: 9, y2: 9 });
  shape(svg, "rect", { class: "band", x: x(band[0]), y: 3, width: x(band[1]) - x(band[0]), height: 12, rx: 3 });
  shape(svg, "line", { class: "mark", x1: x(alpha), x2: x(alpha), y1: 1, y2: 17 });
  shape(svg, "circle", { class: isBeyond ? "dot out" : "dot", cx: x(share), cy: 9, r: 5 });
  return svg;
}

function showRequests(shown, models) {
  const bound = (share) => {
    const seconds = quantile(shown.seconds, share);
    return seconds === Infinity ? "over 10 s" : Number.isNaN(seconds) ? "–" : `≤ ${duration(seconds)}`;
  };
  by("slowest").textContent = bound(0.99);
  by("speed").textContent = `half: ${bound(0.5)}`;
  const { "5xx": failed = 0, "4xx": refused = 0 } = shown.requests;
  by("failed").textContent = number(failed);
  by("failed").className = failed ? "bad" : "";
  by("failures").textContent = `of ${number(sum(shown.requests))}${models > 1 ? ", all models" : ""}; ${number(refused)} refused`;
}

const noRecords = () => (history.at(-1).counts.records.scored ? "No records in this time." : "No records yet.");

function showSignatures(shown) {
  const all = Object.entries(shown.signatures).filter(([, count]) => count);
  const total = all.reduce((most, [, count]) => most + count, 0);
  if (!total) {
    const text = shown.records.scored ? "No anomaly among these records." : noRecords();
    by("signatures").replaceChildren(element("p", text, "empty"));
    return;
  }
  // What has no series of its own stands at the end, however many they are.
  all.sort((a, b) => (a[0] === "other") - (b[0] === "other") || b[1] - a[1]);
  const rows = all.slice(0, FEW_SIGNATURES).map(([signature, count]) => {
    const row = element("div", undefined, "signature");
    row.append(breakable("code", signature), element("span", `${number(count)} · ${percent(count / total)}`), meter(count / total));
    return row;
  });
  const rest = all.slice(FEW_SIGNATURES);
  const others = rest.reduce((most, [, count]) => most + count, 0);
  const note = rest.length
    ? `${rest.length} further signatures have ${number(others)} anomalies.`
    : "The field signature of an answer has the same text, to filter by.";
  by("signatures").replaceChildren(...rows, element("p", note, "note"));
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
    drawn.push({ at: kept[to].at, share: flagged / scored, alpha, band: promisedBand(alpha, scored, calibration) });
    from = to;
  }
  if (drawn.length < 2) {
    const [before, now] = [kept[0].counts.records.scored, history.at(-1).counts.records.scored];
    let why = `The line begins after two intervals of ${POLL_MS / 1000} seconds with ${LEAST_RECORDS} records or more each.`;
    if (!now) why = "No records yet. Post some to /score, or try the box below.";
    else if (now === before && kept.length > 2) why = `No records have come since ${clock(kept[0].at)}.`;
    by("share").replaceChildren(element("p", why, "empty"));
    return;
  }
  const [width, height, left, bottom, top] = [widthOf("share"), 240, 48, 24, 8];
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
  for (const share of ticks(greatest)) {
    shape(svg, "line", { class: "axis", x1: left, x2: width - 8, y1: y(share), y2: y(share) });
    shape(svg, "text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share));
  }
  shape(svg, "line", { class: "limit", x1: left, x2: width - 8, y1: y(latest.alpha), y2: y(latest.alpha) });
  shape(svg, "polyline", { class: "share", points: drawn.map((p) => place(p.at, p.share)).join(" ") });
  shape(svg, "circle", { class: latest.share > latest.band[1] ? "dot out" : "dot", cx: x(latest.at), cy: y(latest.share), r: 4 });
  shape(svg, "text", { x: left, y: height - 6 }, clock(drawn[0].at));
  shape(svg, "text", { x: width - 8, y: height - 6, "text-anchor": "end" }, clock(latest.at));
  by("share").replaceChildren(svg);
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

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
    by("p").replaceChildren(element("p", noRecords(), "empty"));
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
    shape(svg, "text", { x: x + step / 2 - 5, y: above, "text-anchor": "middle" }, step < 40 && bin.share >= 0.1 ? `${Math.round(100 * bin.share)}%` : percent(bin.share));
    shape(svg, "text", { x: x + step / 2 - 5, y: height - 6, "text-anchor": "middle" }, bin.short);
  });
  by("p").replaceChildren(svg);
}

function showColumns(shown, before) {
  const share = (count, records) => (records ? count / records : 0);
  const rows = Object.entries(shown.columns).map(([name, counts]) => {
    const earlier = before?.columns[name];
    const counted = [...COUNTS.map((count) => counts[count]), sum(counts.violations)];
    const past = [...COUNTS.map((count) => earlier?.[count] ?? 0), sum(earlier?.violations ?? {})];
    const shares = counted.map((count) => share(count, shown.records.scored));
    const changes = shares.map((each, at) => each - share(past[at], before?.records.scored));
    const change = changes.reduce((most, each) => (Math.abs(each) > Math.abs(most) ? each : most), 0);
    return { name, change, shares, codes: largest(counts.violations) };
  });
  rows.sort((a, b) => Math.abs(b.change) - Math.abs(a.change)); // without records before them: by their shares
  const button = by("all-columns");
  const isExpanded = button.getAttribute("aria-expanded") === "true";
  button.hidden = rows.length <= FEW_COLUMNS;
  button.textContent = isExpanded ? `Show ${FEW_COLUMNS} columns` : `Show all ${rows.length} columns`;
  const cell = (value, text = percent(value)) => (shown.records.scored ? [text, value ? "strong" : "zero"] : ["–", "zero"]);
  table(
    by("columns"),
    ["column", "change", ...COUNTS.map((count) => WORDS[count]), "break a check", "by check"],
    rows
      .slice(0, isExpanded ? rows.length : FEW_COLUMNS)
      .map((row) => [row.name, before?.records.scored ? cell(row.change, (row.change > 0 ? "+" : "") + percent(row.change)) : ["–", "zero"], ...row.shares.map((each) => cell(each)), row.codes]),
    [0, 6],
  );
}

// ---- one record

async function score(event) {
  event.preventDefault();
  const answer = by("answer");
  const path = model === null ? "score" : `models/${encodeURIComponent(model)}/score`;
  try {
    const response = await call(`${path}?explain=all`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
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
  const further = faults.splice(MOST_FAULTS).length;
  if (further) faults.push(`and ${further} more`);
  const lines = [`${problem.status} ${problem.title}`, ...(faults.length ? faults : [problem.detail ?? ""])];
  by("answer").replaceChildren(...lines.map((line) => element("p", line, "bad")));
}

function showAnswer(body) {
  const [result] = body.results;
  const rest = body.results.length - 1;
  const verdict = element("h3", result.is_anomaly ? "Anomaly" : "Not an anomaly", result.is_anomaly ? "bad" : "good");
  const facts = `p-value ${result.p_value.toPrecision(3)}, alpha ${body.alpha}, score ${result.score.toPrecision(4)}, threshold ${body.threshold.toPrecision(4)}`;
  const parts = [verdict, element("p", facts)];
  if (result.signature) {
    const line = element("p", "Signature ");
    line.append(breakable("code", result.signature), `; reasons: ${result.reasons.join(", ")}`);
    parts.push(line);
  }
  if (rest > 0) parts.push(element("p", `${rest} more were scored; the first is shown.`, "note"));
  // Expected values and limits come from past records; what was observed is what the reader pasted.
  const showsValues = history.at(-1)?.counts.shows_values === true;
  for (const { column, code, observed, limit } of result.violations) {
    const bound = limit === null || !showsValues ? "" : `, limit ${valueText(limit)}`;
    parts.push(element("p", `Violation: ${column} ${code}, observed ${valueText(observed)}${bound}`, "bad"));
  }
  const wide = element("div", undefined, "wide");
  const values = element("table");
  const expected = (text) => (showsValues ? [text] : []);
  const texts = ["column", "observed", ...expected("expected"), "reason"];
  table(
    values,
    [...texts, "contribution"],
    result.contributions
      .slice(0, MOST_CONTRIBUTIONS)
      .map((c) => [c.column, valueText(c.observed), ...expected(valueText(c.expected)), c.reason ?? "", c.contribution.toFixed(2)]),
    [...texts.keys()],
  );
  wide.append(values);
  const notes = [];
  const others = result.contributions.length - MOST_CONTRIBUTIONS;
  if (others > 0) notes.push(`${number(others)} further columns contribute less.`);
  if (!showsValues) notes.push("Expected values and limits come from past records; VAEGIS_SHOW_VALUES=true shows them here.");
  by("answer").replaceChildren(...parts, waterfall(widthOf("answer"), result, body.threshold), wide, ...notes.map((note) => element("p", note, "note")));
}

// ---- polling

function call(path, options = {}) {
  const authorization = key === null ? {} : { Authorization: `Bearer ${key}` };
  return fetch(path, { ...options, headers: { ...options.headers, ...authorization } });
}

function tell(text, className = "") {
  by("state").textContent = text;
  by("state").className = className;
}

async function poll() {
  clearTimeout(timer);
  const asked = model;
  try {
    const response = await call(asked === null ? "live.json" : `live.json?model=${encodeURIComponent(asked)}`);
    if (response.status === 401 || response.status === 403) {
      by("key-form").hidden = false;
      const scope = response.status === 403 ? "This key lacks the scope metrics." : "This key is not known.";
      tell(key === null ? "The service asks for a key." : scope, "bad");
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    const counts = await response.json();
    if (asked !== model) return; // another model was chosen meanwhile, and is asked for
    by("key-form").hidden = true;
    remember(counts);
    show();
    const { workers } = counts;
    tell(`Live: ${workers} ${workers === 1 ? "worker" : "workers"}, at ${new Date().toLocaleTimeString()}`, "good");
    await showVersions(call, counts.model.model ?? asked, counts.allowed);
  } catch {
    tell("The service does not answer. What is shown is old.", "bad");
  }
  if (!isPaused()) {
    clearTimeout(timer); // another poll may have ended meanwhile
    timer = setTimeout(poll, POLL_MS);
  }
}

const isPaused = () => by("pause").getAttribute("aria-pressed") === "true";

by("window").addEventListener("change", () => history.length && show());
by("model-choice").addEventListener("change", () => {
  model = by("model-choice").value;
  history = [];
  by("version").textContent = "";
  by("answer").replaceChildren();
  poll();
});
by("all-columns").addEventListener("click", () => {
  const button = by("all-columns");
  button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
  show();
});
by("pause").addEventListener("click", () => {
  const paused = !isPaused();
  by("pause").setAttribute("aria-pressed", String(paused));
  by("pause").textContent = paused ? "Resume" : "Pause";
  if (paused) {
    clearTimeout(timer);
    tell("Paused.");
  } else poll();
});
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = by("key").value;
  poll();
});
by("try").addEventListener("submit", score);
by("try").addEventListener("reset", () => by("answer").replaceChildren());
window.addEventListener("resize", () => history.length && show());
poll();

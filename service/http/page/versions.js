// The versions of a model: which is live, how the one in shadow compares, and the buttons that change it.

import { by, element, largest, number, percent } from "./draw.js";

const MOST_OFFERED = 50;
const GATE = "flagged_ratio<1.5,disagreement<0.02,records>1000";
const BROKEN_GATE = "urn:vaegis:problem:gate-broken";

let shown = "";
let shadow = null; // how the version in shadow compares

const when = (since) => new Date(since).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

function facts(rows) {
  const list = element("dl");
  for (const [name, value, className] of rows) list.append(element("dt", name), element("dd", value, className));
  return list;
}

function shadowFacts() {
  if (!shadow.records) return "no record has been compared yet";
  const ratio = shadow.flagged_ratio === null ? "the live one flags none" : `${shadow.flagged_ratio.toFixed(2)} of the live ones`;
  return (
    `${number(shadow.candidate_flagged)} of ${number(shadow.records)} records flagged (${ratio}); ` +
    `verdicts differ in ${percent(shadow.disagreement)}; p-values are ${shadow.p_value_shift.toFixed(2)} orders of magnitude apart`
  );
}

function leading() {
  const parts = [];
  if (Object.keys(shadow.appeared).length) parts.push(`more often leading: ${largest(shadow.appeared)}`);
  if (Object.keys(shadow.vanished).length) parts.push(`no longer: ${largest(shadow.vanished)}`);
  return parts.join("; ");
}

// Returns whether the reader confirmed.
function confirmed(text, note, action) {
  const dialog = by("confirm");
  by("confirm-text").textContent = text;
  by("confirm-note").textContent = note;
  by("confirm-yes").textContent = action;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Returns the answer of the service if it is a problem.
async function change(call, path, body, reload) {
  const result = by("change-result");
  let problem = null;
  result.className = "";
  result.textContent = "Checking…";
  try {
    const response = await call(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) problem = answer;
    result.className = response.ok ? "good" : "bad";
    result.textContent = response.ok
      ? `${answer.version} is live from now on; workers load it within a second or two.`
      : `${answer.title}: ${answer.detail}`;
  } catch {
    result.className = "bad";
    result.textContent = "The service does not answer.";
  }
  await reload();
  return problem;
}

// Promotes a version if the gate holds, or if the reader wants it all the same.
async function promote(call, path, version, gate, reload) {
  const body = gate ? { version, gate } : { version };
  const problem = await change(call, `${path}/promote`, body, reload);
  if (problem?.type !== BROKEN_GATE) return;
  const question = `The gate does not hold. Make version ${version} live all the same?`;
  if (await confirmed(question, problem.detail, `Promote ${version} without the gate`)) {
    await change(call, `${path}/promote`, { version }, reload);
  }
}

function actions(call, model, reload) {
  const box = element("div", undefined, "actions");
  const path = `models/${encodeURIComponent(model.name)}`;
  const others = model.versions.filter((version) => version !== model.live?.version);
  if (others.length) {
    const label = element("label", "Make live");
    const select = element("select");
    select.id = "version-choice";
    label.htmlFor = select.id;
    const offered = others.slice(-MOST_OFFERED).reverse();
    if (shadow) offered.unshift(shadow.version); // it is chosen at first
    for (const version of new Set(offered)) select.append(element("option", version));
    const gate = element("input");
    gate.id = "gate";
    gate.value = by("gate")?.value ?? GATE; // what was typed before outlives a change of the versions
    gate.spellcheck = false;
    const button = element("button", "Promote…");
    button.type = "button";
    button.id = "promote";
    button.addEventListener("click", async () => {
      const version = select.value;
      const isCompared = shadow?.version === version;
      const compared = isCompared ? `In shadow: ${shadowFacts()}.` : "It was not compared in shadow.";
      const question = `Make version ${version} of ${model.name} live? ${model.live?.version ?? "No version"} is live now.`;
      if (!(await confirmed(question, compared, `Promote ${version}`))) return;
      await promote(call, path, version, isCompared ? gate.value.trim() : "", reload);
    });
    box.append(label, select, button);
    if (shadow) {
      const label = element("label", "Gate of the version in shadow");
      label.htmlFor = gate.id;
      box.append(label, gate);
    }
  }
  if (model.before) {
    const back = element("button", `Roll back to ${model.before}…`);
    back.type = "button";
    back.id = "rollback";
    back.addEventListener("click", async () => {
      const question = `Make version ${model.before} of ${model.name} live again? ${model.live?.version ?? "No version"} is live now.`;
      if (await confirmed(question, "", `Roll back to ${model.before}`)) await change(call, `${path}/rollback`, {}, reload);
    });
    box.append(back);
  }
  return box;
}

// Shows the versions of one model; `call` fetches with the key, `reload` shows them again.
export async function showVersions(call, name, allowed) {
  const target = by("versions");
  if (!allowed.model) {
    shown = "";
    target.replaceChildren(element("p", "A key with the scope model shows the versions.", "empty"));
    return;
  }
  const answer = await call("models");
  if (!answer.ok) return;
  const model = (await answer.json()).models.find((each) => each.name === name);
  const compared = model.shadow ? await call(`models/${encodeURIComponent(name)}/shadow`) : null;
  shadow = compared?.ok ? await compared.json() : null;
  const version = model.live && model.versions.length ? `version ${model.live.version}` : "";
  by("version").textContent = version;
  if (model.failure) by("version").append(version && ", ", element("b", "a change could not be loaded: see Versions", "bad"));
  const list = facts(rowsOf(model));
  // While only counts change, the controls stay, and with them the focus and what was typed.
  const state = JSON.stringify([model, allowed]);
  if (state === shown || by("confirm").open) {
    target.querySelector("dl")?.replaceWith(list);
    return;
  }
  shown = state;
  const box = element("div", undefined, "versions");
  box.append(list);
  const reload = () => showVersions(call, name, allowed).catch(() => {});
  if (allowed.promote) box.append(actions(call, model, reload));
  else if (model.versions.length > 1) box.append(element("p", "A key with the scope admin promotes versions here.", "note"));
  else if (!model.versions.length) box.append(element("p", "A single file is served. A folder of models has versions to promote.", "note"));
  target.replaceChildren(box);
}

function rowsOf(model) {
  const rows = [];
  if (model.live) {
    rows.push(["live", `${model.live.version}, since ${when(model.live.since)}`], ["digest", model.live.digest]);
  } else rows.push(["live", "none could be loaded", "bad"]);
  if (model.failure) rows.push(["not loaded", `${model.failure.version ?? ""} ${model.failure.reason}`, "bad"]);
  if (shadow) {
    rows.push(["in shadow", `${shadow.version}: ${shadowFacts()}`]);
    if (leading()) rows.push(["columns", leading()]);
    if (shadow.failed || shadow.dropped) rows.push(["not compared", `${number(shadow.dropped)} too fast, ${number(shadow.failed)} failed`]);
  }
  if (model.shadow_failure) rows.push(["not in shadow", model.shadow_failure.reason, "bad"]);
  const others = model.versions.length - 1;
  if (others > 0) rows.push(["in the folder", `${number(others)} other ${others === 1 ? "version" : "versions"}`]);
  return rows;
}

// The versions of a model: which is live, how the one in shadow compares, and the buttons that change it.

import { by, element, number, percent } from "./draw.js";

const MOST_OFFERED = 50;

const when = (since) => new Date(since).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

function facts(rows) {
  const list = element("dl");
  for (const [name, value, className] of rows) list.append(element("dt", name), element("dd", value, className));
  return list;
}

function shadowFacts(shadow) {
  if (!shadow.records) return "no record has been compared yet";
  const ratio = shadow.flagged_ratio === null ? "the live one flags none" : `${shadow.flagged_ratio.toFixed(2)} of the live ones`;
  return (
    `${number(shadow.candidate_flagged)} of ${number(shadow.records)} records flagged (${ratio}); ` +
    `verdicts differ in ${percent(shadow.disagreement)}; p-values are ${shadow.p_value_shift.toFixed(2)} orders of magnitude apart`
  );
}

function leading(shadow) {
  const most = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]).slice(0, 3);
  const told = (counts) => most(counts).map(([column, count]) => `${column} ${number(count)}`).join(", ");
  const parts = [];
  if (Object.keys(shadow.appeared).length) parts.push(`more often leading: ${told(shadow.appeared)}`);
  if (Object.keys(shadow.vanished).length) parts.push(`no longer: ${told(shadow.vanished)}`);
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

async function change(call, path, body, reload) {
  const result = by("change-result");
  result.className = "";
  result.textContent = "Checking…";
  try {
    const response = await call(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    result.className = response.ok ? "good" : "bad";
    result.textContent = response.ok
      ? `${answer.version} is live from now on; workers load it within a second or two.`
      : `${answer.title}: ${answer.detail}`;
  } catch {
    result.className = "bad";
    result.textContent = "The service does not answer.";
  }
  await reload();
}

function actions(call, model, shadow, reload) {
  const box = element("div", undefined, "actions");
  const path = `models/${encodeURIComponent(model.name)}`;
  const others = model.versions.filter((version) => version !== model.live?.version);
  if (others.length) {
    const label = element("label", "Make live");
    const select = element("select");
    select.id = "version-choice";
    label.htmlFor = select.id;
    for (const version of others.slice(-MOST_OFFERED).reverse()) select.append(element("option", version));
    select.value = model.shadow ?? select.value;
    const promote = element("button", "Promote…");
    promote.type = "button";
    promote.id = "promote";
    promote.addEventListener("click", async () => {
      const version = select.value;
      const compared = shadow?.version === version ? `In shadow: ${shadowFacts(shadow)}.` : "It was not compared in shadow.";
      const question = `Make version ${version} of ${model.name} live? ${model.live?.version ?? "No version"} is live now.`;
      if (await confirmed(question, compared, `Promote ${version}`)) await change(call, `${path}/promote`, { version }, reload);
    });
    box.append(label, select, promote);
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

let shown = "";

// Shows the versions of one model; `call` fetches with the key, `reload` shows them again.
export async function showVersions(call, name, allowed) {
  const target = by("versions");
  if (!allowed.model) {
    target.replaceChildren(element("p", "A key with the scope model shows the versions.", "empty"));
    return;
  }
  const answer = await call("models");
  if (!answer.ok) return;
  const model = (await answer.json()).models.find((each) => each.name === name);
  let shadow = null;
  if (model.shadow) {
    const compared = await call(`models/${encodeURIComponent(name)}/shadow`);
    if (compared.ok) shadow = await compared.json();
  }
  by("version").textContent = model.live && model.versions.length ? `version ${model.live.version}` : "";
  const state = JSON.stringify([model, shadow, allowed]);
  // While nothing changes, the elements stay, and with them the focus and the choice.
  if (state === shown || by("confirm").open) return;
  shown = state;
  const rows = [];
  if (model.live) {
    rows.push(["live", `${model.live.version}, since ${when(model.live.since)}`], ["digest", model.live.digest]);
  } else rows.push(["live", "none could be loaded", "bad"]);
  if (model.failure) rows.push(["not loaded", `${model.failure.version ?? ""} ${model.failure.reason}`, "bad"]);
  if (shadow) {
    rows.push(["in shadow", `${shadow.version}: ${shadowFacts(shadow)}`]);
    if (leading(shadow)) rows.push(["columns", leading(shadow)]);
    if (shadow.failed || shadow.dropped) rows.push(["not compared", `${number(shadow.dropped)} too fast, ${number(shadow.failed)} failed`]);
  }
  if (model.shadow_failure) rows.push(["not in shadow", model.shadow_failure.reason, "bad"]);
  if (model.versions.length) {
    const others = model.versions.length - 1;
    rows.push(["in the folder", `${number(others)} other ${others === 1 ? "version" : "versions"}`]);
  }
  const box = element("div", undefined, "versions");
  box.append(facts(rows));
  const reload = () => showVersions(call, name, allowed).catch(() => {});
  if (allowed.promote) box.append(actions(call, model, shadow, reload));
  else if (model.versions.length > 1) box.append(element("p", "A key with the scope admin promotes versions here.", "note"));
  else if (!model.versions.length) box.append(element("p", "A single file is served. A folder of models has versions to promote.", "note"));
  target.replaceChildren(box);
}

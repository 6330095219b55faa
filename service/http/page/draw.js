// Elements, drawings and numbers of the live page. Names and values are only ever set as text, never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";
const LETTER = 6.4; // width of a character of a label, in pixels

export const by = (id) => document.getElementById(id);

export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function drawing(width, height, title) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${width} ${height}`);
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", title);
  return made;
}

export function shape(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// A text that may break into lines after punctuation, so that long names of columns fit.
export function breakable(name, text) {
  const made = element(name);
  text.split(/(?<=[^A-Za-z0-9])(?=[A-Za-z0-9])/).forEach((part, at) => made.append(...(at ? [element("wbr")] : []), part));
  return made;
}

// A share of a whole as a thin bar; the number stands beside it.
export function meter(share) {
  const made = drawing(100, 6, "");
  made.removeAttribute("role");
  made.removeAttribute("aria-label");
  made.setAttribute("aria-hidden", "true");
  made.setAttribute("preserveAspectRatio", "none");
  shape(made, "rect", { class: "band", width: 100, height: 6 });
  shape(made, "rect", { class: "bar", width: 100 * share, height: 6 });
  return made;
}

export const widthOf = (target) => Math.max(280, by(target).clientWidth);

// Rows hold text, or [text, class] pairs; `texts` are the columns that are aligned left.
export function table(target, head, rows, texts = [0]) {
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
    row.forEach((cell, at) => {
      const [text, className] = Array.isArray(cell) ? cell : [cell, ""];
      const made = at ? element("td", text) : breakable("td", text);
      made.dataset.label = head[at]; // shown where there is no room for a head
      made.className = `${texts.includes(at) ? "text " : ""}${className}`;
      line.append(made);
    });
    body.append(line);
  }
  target.replaceChildren(top, body);
}

export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = 100 * share;
  const size = Math.abs(value);
  return `${size === 0 ? "0" : size < 0.01 ? value.toPrecision(1) : value.toFixed(size < 0.995 ? 2 : 1)}%`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  return seconds < 1 ? `${Number((seconds * 1000).toPrecision(2))} ms` : `${Number(seconds.toPrecision(2))} s`;
}

export const number = (value) => Math.round(value).toLocaleString("en");
export const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : number(value));
export const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

// The largest counts, each with its name.
export function largest(counts) {
  return Object.entries(counts)
    .filter(([, count]) => count)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3)
    .map(([name, count]) => `${name} ${number(count)}`)
    .join(", ");
}

export function valueText(value) {
  return value === null ? "null" : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

// Long names of columns often differ only at their ends.
function shortened(name, longest) {
  if (name.length <= longest) return name;
  const start = Math.floor((longest - 1) / 2);
  return `${name.slice(0, start)}…${name.slice(start + 1 - longest)}`;
}

// Round values from 0 up to `greatest`, three to six of them.
export function ticks(greatest) {
  const power = 10 ** Math.floor(Math.log10(greatest));
  const step = [0.2, 0.5, 1, 2].find((each) => greatest / (each * power) < 6) * power;
  return Array.from({ length: Math.floor(greatest / step + 1e-9) + 1 }, (_, at) => at * step);
}

// What each column adds to the score, one after the other.
export function waterfall(width, result, threshold) {
  const most = 12;
  const bars = result.contributions.slice(0, most).map((c) => [c.column, c.contribution]);
  const others = result.contributions.slice(most).reduce((total, c) => total + c.contribution, 0);
  if (result.contributions.length > most) bars.push([`${result.contributions.length - most} others`, others]);
  bars.push(["latent code", result.latent_contribution]);
  const row = 24;
  const longest = Math.min(Math.floor((0.4 * width - 16) / LETTER), Math.max(...bars.map(([name]) => name.length)));
  const left = 16 + LETTER * longest;
  const height = row * (bars.length + 1) + 24;
  const svg = drawing(width, height, "Waterfall of contributions to the score; the table below has the numbers");
  const ends = [0];
  for (const [, value] of bars) ends.push(ends.at(-1) + value);
  const [low, high] = [Math.min(0, threshold, ...ends), Math.max(0, threshold, ...ends)];
  const x = (value) => left + ((width - left - 70) * (value - low)) / (high - low || 1);
  const bar = (at, name, from, to, className) => {
    const y = at * row;
    shape(svg, "text", { x: left - 8, y: y + 16, "text-anchor": "end" }, shortened(name, longest));
    const [start, end] = [x(Math.min(from, to)), x(Math.max(from, to))];
    shape(svg, "rect", { class: className, x: start, y: y + 4, width: Math.max(1, end - start), height: row - 8 });
    shape(svg, "text", { x: end + 6, y: y + 16 }, String(Number((to - from).toPrecision(4))));
  };
  bars.forEach(([name, value], at) => bar(at, name, ends[at], ends[at + 1], value < 0 ? "down" : "up"));
  bar(bars.length, "score", 0, result.score, "bar");
  const bottom = row * (bars.length + 1);
  shape(svg, "line", { class: "limit", x1: x(threshold), x2: x(threshold), y1: 0, y2: bottom });
  shape(svg, "text", { x: x(threshold), y: bottom + 16, "text-anchor": "middle" }, "threshold");
  return svg;
}

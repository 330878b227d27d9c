"use strict";
/* The page's core: data, state, controls, and words. Text from data only ever becomes text nodes. */
const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const SHOWN_NUMBERS = 400; // rows of a figure's numbers on the page; all of them are in its CSV

const AHEAD = { rootMargin: "600px 0px" }; // what is so near to what one sees is drawn

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/* One study's results.csv by column, as text; numbers are read where they are asked for. */
class Rows {
  constructor(raw) {
    this.study = raw.study;
    this.length = raw.rows;
    this.order = raw.order;
    this.sweeps = raw.sweeps;
    this.raw = { ...raw.columns, ...raw.extra };
    this.read = {};
  }
  text(name, i) {
    const column = this.raw[name];
    if (!column) return "";
    if ("one" in column) return column.one;
    return column.values ? column.values[i] : column.words[column.index[i]];
  }
  number(name, i) {
    if (!this.read[name]) {
      const values = new Float64Array(this.length);
      for (let k = 0; k < this.length; k++) {
        const text = this.text(name, k);
        values[k] = text === "" ? NaN : Number(text);
      }
      this.read[name] = values;
    }
    return this.read[name][i];
  }
}

const TABLES = DATA.tables.map((raw) => new Rows(raw));
const ROWS = TABLES.flatMap((table) => Array.from({ length: table.length }, (_, i) => ({ table, i })));
const text = (row, name) => (name === "study" ? row.table.study : row.table.text(name, row.i));
const num = (row, name) => row.table.number(name, row.i);
const distinct = (rows, name) => [...new Set(rows.map((row) => text(row, name)))];
const known = (value) => Number.isFinite(value);

function groupedBy(rows, of) {
  const found = new Map();
  for (const row of rows) {
    const key = of(row);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(row);
  }
  return found;
}

/* Figures as they are printed everywhere on the page. */
const share = (value) => (known(value) ? (100 * value).toFixed(1) : "");
const signed = (value, digits = 1) =>
  value
    .toFixed(digits)
    .replace(/^-(?=[0.]+$)/, "")
    .replace("-", "−");
const points = (value) => (known(value) ? signed(100 * value).replace(/^(?=\d)/, "+") : "");
const pText = (p) => (!known(p) ? "" : p < 0.001 ? "<0.001" : p < 0.0995 ? p.toFixed(3) : p.toFixed(2));
const whole = (value) => (known(value) ? String(Math.round(value)) : "");
const interval = (row) => (known(num(row, "low")) ? `[${share(num(row, "low"))}, ${share(num(row, "high"))}]` : "");
const gap = (row) => (known(num(row, "diff")) ? `[${points(num(row, "diff_low"))}, ${points(num(row, "diff_high"))}]` : "");
const mark = (row) => (text(row, "selected") === "test" ? "†" : "");
const SWEPT = Object.keys(DATA.names.swept);
const wordOf = (name) => DATA.names.swept[name] || name.replaceAll("_", " ");
const scoreName = () => (state.metric === "accuracy" ? "accuracy" : state.metric);

/* plotly reads a little HTML in labels: nothing of ours may look like it. */
const plain = (words) =>
  String(words)
    .replace(/[\u0000-\u001f\u007f]/g, "")
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;");
/* Words on lines of at most so many signs, for a place that is narrower than they are. */
function wrapped(words, most) {
  const lines = [""];
  for (const word of words.split(" ").flatMap((one) => one.match(new RegExp(`.{1,${most}}`, "gu")) || [])) {
    const last = lines[lines.length - 1];
    if (last && last.length + 1 + word.length > most) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines;
}
/* Names that begin alike often differ at their end. */
function shortened(words, most) {
  const half = Math.floor((most - 1) / 2);
  return words.length > most ? `${words.slice(0, half)}…${words.slice(-half)}` : words;
}

/* What the figures show. Values that no longer exist fall back to the first that does. */
const state = { study: "", where: "", bench: "", metric: "", scorer: "", items: "" };
const SCOPE = [
  ["study", "Study"],
  ["where", "Target"],
  ["bench", "Benchmark"],
  ["metric", "Score"],
  ["scorer", "Scorer"],
];

function settle(name, options, preferred) {
  if (!options.includes(state[name])) state[name] = options.includes(preferred) ? preferred : options[0] || "";
}

function resolve() {
  let rows = ROWS;
  for (const [name] of SCOPE) {
    settle(name, distinct(rows, name), name === "scorer" ? DATA.scorer : name === "metric" ? "accuracy" : "");
    select("scope", name, SCOPE.find((s) => s[0] === name)[1], distinct(rows, name), (v) => v);
    rows = rows.filter((row) => text(row, name) === state[name]);
  }
  const steered = rows.filter((row) => num(row, "layer") >= 0);
  const count = (items) => steered.filter((row) => text(row, "items") === items).length;
  settle("items", distinct(rows, "items"), distinct(rows, "items").sort((a, b) => count(b) - count(a))[0]);
  return rows;
}

/* A select that is made once and refilled, so that it keeps the keyboard's focus; with one option there is no choice. */
function select(parent, name, label, options, words, where = state, changed = update) {
  const holder = $(parent === "scope" ? parent : `controls-${parent}`);
  const id = `${parent}-${name}`;
  const key = where === state ? `scope-${name}` : id; // in the address; several figures share a choice of items
  if (!$(id)) {
    if (options.includes(WANTED.get(key))) where[name] = WANTED.get(key);
    const field = el("select", {
      id,
      change: (event) => {
        where[name] = event.target.value;
        remember(key, where[name]);
        changed();
      },
    });
    holder.append(el("label", { class: "field", for: id }, el("span", {}, label), field));
  }
  const field = $(id);
  const wanted = options.map((value) => [value, words(value)]);
  if (JSON.stringify(wanted) !== field.dataset.options) {
    field.replaceChildren(...wanted.map(([value, word]) => el("option", { value }, word)));
    field.dataset.options = JSON.stringify(wanted);
  }
  field.value = where[name];
  field.parentElement.hidden = options.length < 2;
  if (parent === "scope") holder.hidden = [...holder.children].every((child) => child.hidden);
}

function itemsSelect(parent, rows) {
  const told = new Set(rows.filter((row) => text(row, "told")).map((row) => text(row, "items")));
  const several = distinct(rows, "items").length > told.size;
  const word = (items) => (several ? `${items}, ${told.has(items) ? "reported on" : "chosen on"}` : items);
  select(parent, "items", "Items", distinct(rows, "items"), word);
}

const settingsOf = (row) =>
  SWEPT.filter((name) => text(row, name) !== "" && !(name === "source_layer" && text(row, name) === text(row, "layer")))
    .map((name) => `${wordOf(name)} ${text(row, name)}`)
    .join(", ");

/* Everything that is known of a cell, for the box under the pointer. */
function about(row) {
  const lines = [`<b>${plain(text(row, "arm"))}${mark(row)}</b>`];
  if (settingsOf(row)) lines.push(plain(settingsOf(row)));
  lines.push(`${plain(scoreName())} ${share(num(row, "value"))} % ${interval(row)}`);
  lines.push(`n = ${whole(num(row, "n"))}, scorer ${plain(text(row, "scorer"))}, ${plain(text(row, "items"))}`);
  if (known(num(row, "diff"))) {
    lines.push(`to direct ${points(num(row, "diff"))} points ${gap(row)}`);
    lines.push(
      `Holm p ${pText(num(row, "p_holm"))} · flips +${whole(num(row, "flips_right"))} −${whole(num(row, "flips_wrong"))}`,
    );
  }
  if (known(num(row, "tokens"))) lines.push(`${num(row, "tokens").toFixed(1)} tokens on average`);
  return lines.join("<br>");
}

/* What a figure can show. */
const VALUES = DATA.names.values.map((v) => ({ ...v, word: () => (v.key === "value" ? `${scoreName()}, %` : v.title) }));
const present = (rows) => VALUES.filter((v) => rows.some((row) => known(num(row, v.key))));
const chosenValue = (key) => VALUES.find((v) => v.key === key);
const span = (counts) => {
  const all = [...new Set(counts.filter(known))].sort((a, b) => a - b);
  const [first, last] = [all[0], all[all.length - 1]].map((n) => n?.toLocaleString("en") ?? "?");
  return all.length > 1 ? `n = ${first} to ${last}` : `n = ${first}`;
};
const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const basis = (rows) =>
  `Target ${state.where}, benchmark ${state.bench}. Scorer ${state.scorer}, ${span(rows.map((row) => num(row, "n")))}`;

const inGrey = (rows, before) => (rows.some((row) => text(row, "role") === "null") ? `${before}null arms in grey` : "");

/* The row with the largest figure, and in words how many share it. */
function highest(rows, of) {
  const some = rows.filter((row) => known(of(row)));
  const top = some.length ? some.reduce((a, b) => (of(b) > of(a) ? b : a)) : rows[0];
  return { row: top, shared: some.filter((row) => of(row) === of(top)).length };
}

"use strict";
/* The page's core: data, state, controls, and how a figure is put on the page. Text from data only ever becomes text nodes. */
const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const SHOWN_NUMBERS = 400; // rows of a figure's numbers on the page; all of them are in its CSV

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

/* Figures as they are printed everywhere on the page. */
const share = (value) => (known(value) ? (100 * value).toFixed(1) : "");
const points = (value) => (known(value) ? (value >= 0 ? "+" : "−") + Math.abs(100 * value).toFixed(1) : "");
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
const clipped = (words, most) => (words.length > most ? words.slice(0, most - 1) + "…" : words);

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
  const holder = $(parent.includes("scope") ? parent : `controls-${parent}`);
  const id = `${parent}-${name}`;
  if (!$(id)) {
    const field = el("select", {
      id,
      change: (event) => {
        where[name] = event.target.value;
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
  const word = (items) => (several ? `${items}, ${told.has(items) ? "told on" : "chosen on"}` : items);
  select(parent, "items", "Items", distinct(rows, "items"), word);
}

/* Colours follow the reader's system, the button, and paper, which is always light. */
let printing = false;
function scheme() {
  const chosen = document.documentElement.dataset.scheme;
  return !printing && (chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches) ? "dark" : "light";
}
function theme() {
  const dark = scheme() === "dark";
  return {
    ...DATA.style[scheme()],
    ink: dark ? "#e9e6df" : "#1e1e1c",
    soft: dark ? "#a5a29a" : "#5f5d57",
    hair: dark ? "#2b2e34" : "#e9e5da",
    raised: dark ? "#1d2025" : "#ffffff",
    paper: dark ? "#16181c" : printing ? "#ffffff" : "#fcfbf8",
  };
}
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x"];

/* One colour and one sign per arm: fixed for the usual methods, the rest take what is left. */
function looks(arms) {
  const { palette } = theme();
  const used = new Set();
  const found = {};
  arms.forEach((arm, i) => {
    let index = DATA.style.arms[arm.split(" ")[0]];
    if (index === undefined || used.has(index)) index = [0, 1, 2, 3, 4, 5].find((k) => !used.has(k)) ?? i % 6;
    used.add(index);
    found[arm] = { colour: palette[index], symbol: SYMBOLS[i % SYMBOLS.length] };
  });
  return found;
}

function hexFade(colour, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

/* Everything that is known of a cell, for the box under the pointer. */
function about(row) {
  const lines = [`<b>${plain(text(row, "arm"))}${mark(row)}</b>`];
  const settings = SWEPT.filter((name) => text(row, name) !== "");
  if (settings.length) lines.push(settings.map((name) => `${wordOf(name)} ${plain(text(row, name))}`).join(" · "));
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

const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
const drawn = new Map();

function layoutFor(div, layout, height, automargin = true) {
  const look = theme();
  const axis = { gridcolor: look.hair, zerolinecolor: look.soft, linecolor: look.hair, tickcolor: look.hair, automargin };
  const full = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    height,
    width: div.clientWidth || 640,
    margin: { l: 50, r: 14, t: 18, b: 46 },
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: look.ink },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: look.soft, activecolor: look.ink },
    hoverlabel: { bgcolor: look.raised, bordercolor: look.soft, font: { color: look.ink, size: 12 }, align: "left" },
    ...layout,
  };
  for (const name of Object.keys(full)) {
    if (/^[xy]axis\d*$/.test(name)) full[name] = { ...axis, ...full[name] };
  }
  if (!full.xaxis) full.xaxis = { ...axis };
  if (!full.yaxis) full.yaxis = { ...axis };
  return full;
}

/* Put a figure on the page: what one sees, the picture, what it is drawn from, and its numbers as a table. */
function show(id, figure) {
  $(`controls-${id}`).hidden = false;
  $(`sees-${id}`).textContent = figure.sees || "";
  $(`sees-${id}`).classList.remove("why");
  $(`caption-${id}`).textContent = figure.caption;
  const div = $(`plot-${id}`);
  div.setAttribute("role", "img");
  div.setAttribute("aria-label", `${figure.sees || ""} ${figure.caption} The numbers follow as a table.`);
  drawn.set(id, figure);
  paint(id);
  const numbers = $(`numbers-${id}`);
  numbers.hidden = false;
  numbers.replaceChildren(numbers.firstElementChild);
  numbers.ontoggle = () => {
    if (numbers.open && numbers.childElementCount === 1) {
      numbers.append(dataTable({ ...figure.numbers, most: SHOWN_NUMBERS, file: `${state.study}-${id}.csv` }));
    }
  };
  if (numbers.open) numbers.ontoggle();
}

function paint(id) {
  const figure = drawn.get(id);
  const div = $(`plot-${id}`);
  if (!figure || !window.Plotly) return;
  const { traces, layout, height } = figure.build(div.clientWidth || 640);
  Plotly.react(div, traces, layoutFor(div, layout, height), CONFIG);
}

/* No picture, and in one line why. */
function missing(id, why, keep = false) {
  drawn.delete(id);
  const items = $(`${id}-items`);
  $(`controls-${id}`).hidden = !keep && !(items && items.options.length > 1);
  $(`sees-${id}`).textContent = why;
  $(`sees-${id}`).classList.add("why");
  $(`caption-${id}`).textContent = "";
  $(`numbers-${id}`).hidden = true;
  const div = $(`plot-${id}`);
  div.removeAttribute("role");
  div.removeAttribute("aria-label");
  if (window.Plotly) Plotly.purge(div);
}

const SECTIONS = [];
function update() {
  if (!ROWS.length) return;
  const rows = resolve();
  for (const section of SECTIONS) section(rows);
  document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn || 0) + 1);
}

/* The figures' library travels packed; the page's policy knows the hash of what comes out. */
async function unpack() {
  const bytes = Uint8Array.from(atob($("plotly").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(Object.assign(document.createElement("script"), { textContent: await new Response(stream).text() }));
  if (!window.Plotly) throw new Error("the figures' library did not start");
}

function repaint() {
  for (const id of drawn.keys()) paint(id);
}

function schemeButton() {
  const order = ["", "light", "dark"];
  const words = { "": "as the system", light: "light", dark: "dark" };
  $("scheme").addEventListener("click", () => {
    const root = document.documentElement;
    const next = order[(order.indexOf(root.dataset.scheme || "") + 1) % 3];
    if (next) root.dataset.scheme = next;
    else delete root.dataset.scheme;
    $("scheme").setAttribute("aria-label", `Colours: ${words[next]}`);
    $("scheme").title = `Colours: ${words[next]}`;
    if (window.Plotly) update();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.Plotly && update());
}

function watchSections() {
  const links = new Map([...document.querySelectorAll(".bar a")].map((a) => [a.getAttribute("href").slice(1), a]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-15% 0px -75% 0px" },
  );
  for (const id of links.keys()) if ($(id)) seen.observe($(id));
}

function onPaper(on) {
  printing = on;
  document.documentElement.style.width = on ? "690px" : "";
  for (const fold of document.querySelectorAll("details:not(.numbers)")) {
    if (on && !fold.open) fold.dataset.shut = "yes";
    if (on || fold.dataset.shut) fold.open = on;
    if (!on) delete fold.dataset.shut;
  }
  if (window.Plotly && ROWS.length) update();
}

async function begin() {
  schemeButton();
  watchSections();
  for (const button of document.querySelectorAll("button[data-lat]")) {
    const [i, j] = button.dataset.lat.split("-").map(Number);
    const figure = DATA.lat[i][j];
    button.addEventListener("click", () => download(figure.file || "figure.csv", figure.csv));
  }
  update();
  if (typeof beginExamples === "function") beginExamples();
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  let width = innerWidth;
  let waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width || printing) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(repaint, 150);
  });
  try {
    await unpack();
    repaint();
  } catch (error) {
    for (const id of drawn.keys())
      $(`caption-${id}`).textContent = "This browser is too old to draw the figures; their numbers are below.";
    console.warn(String(error));
  }
  document.documentElement.dataset.state = "ready";
}
addEventListener("DOMContentLoaded", begin);

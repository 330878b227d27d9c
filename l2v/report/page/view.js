/* The state of the view in the page's address, behind the section: #grid?grid-value=diff&filter=layer%3D3. */
const VIEW = new Map();
const WANTED = new Map(new URLSearchParams(location.hash.split("?")[1] || ""));

function remember(id, value) {
  if (value === "") VIEW.delete(id);
  else VIEW.set(id, value);
  writeAddress();
}

function writeAddress(section = location.hash.split("?")[0] || "#") {
  const words = viewWords();
  history.replaceState(history.state, "", section + (words && `?${words}`));
}
const viewWords = () => new URLSearchParams([...VIEW]).toString();
const addressWords = () => new URLSearchParams(location.hash.split("?")[1] || "").toString();

/* A link within the page keeps the view; an address with another view is begun anew. */
function followAddress() {
  for (const [id, value] of WANTED) VIEW.set(id, value);
  const section = $(location.hash.slice(1).split("?")[0]);
  const [id, top] = history.state?.at || [];
  if ($(id)) keepInPlace($(id), top);
  else if (section) keepInPlace(section);
  addEventListener("scrollend", notePlace);
  followed = true;
}

/* From the first moment on: who goes back before all is drawn means the entry that was left, too. */
let followed = false;
addEventListener("hashchange", () => {
  const shown = followed ? viewWords() : new URLSearchParams([...WANTED]).toString();
  if (addressWords() === shown) return;
  // An entry that was left has its view, be it none; a link's is new and has no state.
  if (addressWords() || history.state || !followed) location.reload();
  else writeAddress();
});

/* The place that one reads stands with the page's entry in the browser's history: to come back to, or to load again. */
function notePlace() {
  if (addressWords() !== viewWords()) return; // on the way to another view
  const sections = [...document.querySelectorAll("main section:not([hidden])")];
  const topOf = (section) => section.getBoundingClientRect().top;
  const read = sections.filter((section) => topOf(section) < 160).pop() || sections[0];
  history.replaceState({ at: scrollY && read ? [read.id, topOf(read)] : null }, "", location.href);
}

/* What was gone to stays where it is while figures above it are drawn: until one moves, or all stand. */
let letGo = () => {};
function keepInPlace(section, top) {
  letGo();
  const go = () =>
    top === undefined
      ? section.scrollIntoView({ behavior: "instant" })
      : scrollBy({ top: section.getBoundingClientRect().top - top, behavior: "instant" });
  const watch = new ResizeObserver(go);
  letGo = () => watch.disconnect();
  watch.observe($("main"));
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"])
    addEventListener(kind, letGo, { once: true, passive: true });
  go();
}

/* Conditions on cells, as they are typed or brushed: layer=3, alpha>0.4, source=a|b; in quotes what has a sign of these. */
const view = { filter: WANTED.get("filter") || "" };
const CONDITION = /^\s*([^<>=!]+?)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*$/;
const [ENDS, OR] = [",|;|\\sand\\s", "\\|"].map((sign) => new RegExp(`(?:${sign})(?=(?:[^"]*"[^"]*")*[^"]*$)`));
const quoted = (value) => (/[,;|]|\sand\s/.test(value) ? `"${value}"` : value);
const unquoted = (word) => word.trim().replace(/^"(.*)"$/, "$1");
/* Words for columns: their names in results.csv, and what heads them in the table. Where that is a figure it is compared as it
   is printed, so that what one reads can be typed: [column, times, digits]. */
const WORDS = new Map(
  [
    ...Object.keys(TABLES[0]?.raw || {}).map((name) => [name, name]),
    ...Object.entries({
      study: "study",
      target: "where",
      benchmark: "bench",
      "p (Holm)": "p_holm",
      "p (best of grid)": "p_best_of_grid",
    }),
    ...[["cells searched", "budget"], ...SWEPT.map((name) => [wordOf(name), name])],
    ...Object.entries({ accuracy: "value", "to direct": "diff", difference: "diff" }).map((named) => [...named, 100, 1]),
    ...[["tokens", "tokens", 1, 1], ...Object.entries(DATA.names.shares).map(([name, title]) => [title, name, 100, 0])],
  ].map(([word, ...read]) => [word.toLowerCase(), read]),
);

/* A condition's column: how to read it of a row; null for a word that names none. */
const columnOf = (word) => WORDS.get(word === scoreName() ? "accuracy" : word.toLowerCase()) || [];
function reader(word) {
  const [name, times, digits] = columnOf(word);
  if (!times) return name ? (row) => text(row, name) || "none" : null;
  return (row) => (known(num(row, name)) ? (times * num(row, name)).toFixed(digits) : "");
}

function conditions(words) {
  const wrong = [];
  const tests = words
    .split(ENDS)
    .filter((one) => one.trim())
    .map((one) => {
      const [, word, sign, wanted] = CONDITION.exec(one) || [];
      const read = word && reader(word);
      if (!read || ("<>".includes(sign[0]) && !known(Number(wanted)))) wrong.push(one.trim());
      return { word, sign, wanted, read };
    });
  return { tests: wrong.length ? [] : tests, wrong };
}

const equal = (a, b) => a === b || (a !== "" && b !== "" && Number(a) === Number(b));
function holds({ sign, wanted, read }, row) {
  const value = read(row);
  if (sign === "=" || sign === "!=") return wanted.split(OR).some((one) => equal(value, unquoted(one))) === (sign === "=");
  const [a, b] = [value === "" ? NaN : Number(value), Number(wanted)];
  return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[sign];
}
function kept(rows) {
  const { tests } = conditions(view.filter);
  return rows.filter((row) => tests.every((test) => holds(test, row)));
}

function setFilter(words) {
  // Conditions are on every cell; which of them have a row is then what the table's own choice says.
  if (words && !view.filter) {
    tableState.which = "all";
    remember("table-which", "all");
  }
  view.filter = words;
  remember("filter", words);
  const rows = resolve();
  for (const section of FILTERED) section(rows);
}
/* The sections, among all, that show what conditions hold: with each letter typed these alone are made again. */
const FILTERED = [];
function filtered(section) {
  SECTIONS.push(section);
  FILTERED.push(section);
}

/* The conditions on one column, by whichever of its names; all but those, and others in their place. */
const isOn = (word) => (test) => columnOf(test.word)[0] === columnOf(word)[0];
function brushed(word, ...instead) {
  const rest = conditions(view.filter).tests.filter((test) => !isOn(word)(test));
  setFilter([...rest.map(({ word: w, sign, wanted }) => `${w}${sign}${wanted}`), ...instead].join(", "));
}

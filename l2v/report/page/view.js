/* The state of the view in the page's address, behind the section: #grid?grid-value=diff&filter=layer%3D3. */
const VIEW = new Map();
const WANTED = new Map(new URLSearchParams(location.hash.split("?")[1] || ""));

function remember(id, value) {
  if (value === "") VIEW.delete(id);
  else VIEW.set(id, value);
  writeAddress();
}

function writeAddress() {
  const [section] = location.hash.split("?");
  const words = new URLSearchParams([...VIEW]).toString();
  history.replaceState(null, "", (section || "#") + (words && `?${words}`));
}

/* A link within the page keeps the view; an address with another view is begun anew. */
function followAddress() {
  for (const [id, value] of WANTED) VIEW.set(id, value);
  const [section] = location.hash.slice(1).split("?");
  if (section && location.hash.includes("?")) $(section)?.scrollIntoView();
  addEventListener("hashchange", () => (location.hash.includes("?") ? location.reload() : writeAddress()));
}

/* Conditions on cells, as they are typed or brushed: layer=3, alpha>0.4, source=a|b. */
const view = { filter: WANTED.get("filter") || "" };
const CONDITION = /^\s*([^<>=!]+?)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*$/;
const PERCENT = { accuracy: "value", "to direct": "diff", difference: "diff" };
const NAMES = { target: "where", benchmark: "bench", arm: "arm", items: "items", source: "source", seed: "seed", cell: "cell" };

/* A condition's column: how to read it of a row; null for a word that names none. */
function reader(word) {
  // A figure is compared as it is printed, so that what one reads in the table can be typed.
  if (word in PERCENT) return (row) => (known(num(row, PERCENT[word])) ? (100 * num(row, PERCENT[word])).toFixed(1) : "");
  const swept = SWEPT.find((name) => name === word || wordOf(name) === word);
  const name = swept || NAMES[word] || (TABLES[0]?.raw[word] ? word : null);
  return name && ((row) => text(row, name) || "none");
}

function conditions(words) {
  const wrong = [];
  const tests = words
    .split(/,|;|\band\b/)
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
  if (sign === "=" || sign === "!=") return wanted.split("|").some((one) => equal(value, one.trim())) === (sign === "=");
  const [a, b] = [value === "" ? NaN : Number(value), Number(wanted)];
  return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[sign];
}
function kept(rows) {
  const { tests } = conditions(view.filter);
  return rows.filter((row) => tests.every((test) => holds(test, row)));
}

function setFilter(words) {
  view.filter = words;
  remember("filter", words);
  update();
}

/* The conditions but those on one column, and others in their place. */
function brushed(word, ...instead) {
  const rest = conditions(view.filter).tests.filter((test) => test.word !== word);
  setFilter([...rest.map(({ word: w, sign, wanted }) => `${w}${sign}${wanted}`), ...instead].join(", "));
}

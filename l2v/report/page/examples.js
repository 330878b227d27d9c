/* The example browser: filters, and a card per item with the baseline's answer and every arm's side by side. */
const PAGED = JSON.parse($("examples-data").textContent);
const PAGE = 20;
const GLYPH = {
  "flipped right": "▲",
  "flipped wrong": "▼",
  "both wrong": "✕",
  "both right": "✓",
  right: "✓",
  wrong: "✕",
};
const filters = { cell: "", subset: "", flips: new Set(), words: "" };
/* Cells whose responses were fetched in full, each a book like the page's own; `served` is null in a page that is a file. */
const BOOKS = new Map();
let found = [];
let onPage = 0;
/* As figures do, cards wait until one comes near to them. */
const cardsNear = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && cardsInTime(), AHEAD);
function cardsInTime() {
  cardsNear.disconnect();
  const cards = $("cards");
  if (!cards || cards.dataset.near) return;
  cards.dataset.near = "yes";
  if (!cards.childElementCount) addCards();
}

/* The row that stands for a cell of a study: the headline's, by the page's scorer. Two studies may hold the same cell. */
const OWNER = TABLES[0]?.study; // of the responses
const CELLS = new Map();
const rowOf = (cell, study = OWNER) => CELLS.get(`${study}\n${cell}`);
for (const row of ROWS) {
  const of = [text(row, "cell"), text(row, "study")];
  if (text(row, "scorer") === DATA.scorer && (text(row, "metric") === "accuracy" || !rowOf(...of)))
    CELLS.set(of.reverse().join("\n"), row);
}

/* A book's examples as entries: {book, example, cell}. */
const entriesOf = (book, count = book.examples.length) =>
  book.examples.slice(0, count).map((example) => ({ book, example, cell: book.cells[example.cell] }));
const itemOf = ({ book, example }) => book.items[example.item];

function beginExamples() {
  const form = $("controls-examples");
  if (!form) return;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(el("fieldset", { class: "segments", "aria-label": "Verdicts" }));
  const words = el("input", {
    type: "search",
    id: "examples-words",
    autocomplete: "off",
    input: (event) => {
      filters.words = event.target.value.toLowerCase();
      remember("examples-words", event.target.value);
      search();
    },
  });
  $("more").addEventListener("click", () => {
    const at = $("cards").childElementCount;
    addCards();
    $("cards").children[at]?.focus();
  });
  filters.cell = WANTED.get("examples-cell") || "";
  filters.words = (WANTED.get("examples-words") || "").toLowerCase();
  words.value = WANTED.get("examples-words") || "";
  for (const kind of (WANTED.get("examples-verdicts") || "").split(",")) if (kind in GLYPH) filters.flips.add(kind);
  SECTIONS.push(() => search());
  search();
  cardsNear.observe($("cards"));
  if (filters.cell && DATA.served) openCell(filters.cell, false);
  form.append(
    el("label", { class: "field search", for: "examples-words" }, el("span", {}, "Search in questions and answers"), words),
  );
}

function armName(cell) {
  const row = rowOf(cell);
  if (!row) return cell;
  const [told, several] = [text(row, "told"), distinct(here(), "items").length > 1];
  const items = several && !told ? text(row, "items") : "";
  const settings = told ? "" : settingsOf(row);
  return [text(row, "arm") + mark(row), settings, items].filter(Boolean).join(", ");
}

/* The target and the benchmark that the figures show are what the examples are of. */
const here = () =>
  [...CELLS.values()].filter((row) => ["study", "where", "bench"].every((name) => text(row, name) === state[name]));

/* What may be shown now: of one cell everything that is there, else the reported cells side by side. */
function candidates() {
  if (state.study !== OWNER) return [];
  const shown = new Set(here().map((row) => text(row, "cell")));
  const own = (entries) => entries.filter(({ cell }) => shown.has(cell));
  if (filters.cell === "") return own(entriesOf(PAGED, PAGED.reported));
  const whole = BOOKS.get(filters.cell);
  return whole ? entriesOf(whole) : own(entriesOf(PAGED)).filter(({ cell }) => cell === filters.cell);
}

function matches(entry) {
  const { book, example } = entry;
  const item = itemOf(entry);
  if (filters.subset && !item.subsets.includes(filters.subset)) return false;
  if (!filters.words) return true;
  const answered = [example.answer, example.baseline].filter(Boolean).map((one) => one.text);
  const texts = [item.id, ...[item.question, item.gold, ...answered, ...item.options].map((index) => book.texts[index])];
  return texts.some((one) => one.toLowerCase().includes(filters.words));
}

function search() {
  const all = candidates();
  offer(all);
  const others = all.filter(matches);
  verdictButtons(others);
  const wanted = others.filter(({ example }) => !filters.flips.size || filters.flips.has(example.flip));
  const keys = new Set(wanted.map((entry) => itemOf(entry)));
  found = [...groupedBy(others, itemOf)].filter(([item]) => keys.has(item)).map(([, entries]) => entries);
  onPage = 0;
  $("cards").replaceChildren();
  $("more").hidden = true;
  $("found").textContent = wanted.length
    ? `${wanted.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} responses, ` +
      `to ${found.length.toLocaleString("en")} ${found.length === 1 ? "item" : "items"}${notHere(all)}`
    : noneFound(all);
  if (paper.on || $("cards").dataset.near) addCards();
}

function noneFound(all) {
  if (all.length) return "No example matches.";
  if (state.study !== OWNER) return `The responses on this page are those of ${OWNER}.`;
  if (filters.cell && !rowOf(filters.cell)) return "There is no such cell on this page.";
  return filters.cell ? `This page holds no response of this cell; ${MORE}.` : `No response is here; ${MORE}.`;
}

/* Where the rest is; a server's page asks for it by itself. */
const MORE = DATA.served ? "the server did not hand out the rest" : `\`l2v serve study=${OWNER}\` shows all of them`;
function notHere(all) {
  const there = filters.cell && rowOf(filters.cell) ? num(rowOf(filters.cell), "n") : 0;
  return there > all.length
    ? `; ${all.length.toLocaleString("en")} of the cell's ${there.toLocaleString("en")} are on this page, ${MORE}`
    : "";
}

/* The filters that these entries leave to choose from. */
function offer(all) {
  const reported = [...new Set(entriesOf(PAGED, PAGED.reported).map(({ cell }) => cell))];
  const cells = reported.filter((cell) => here().some((row) => text(row, "cell") === cell));
  const options = ["", ...cells, ...(filters.cell && !cells.includes(filters.cell) ? [filters.cell] : [])];
  const words = (cell) => (cell === "" ? "the reported cells side by side" : armName(cell));
  select("examples", "cell", "Cell", options, words, filters, () => openCell(filters.cell, false));
  const subsets = [...new Set(all.flatMap((entry) => itemOf(entry).subsets))].filter((s) => s !== "accuracy").sort();
  if (filters.subset && !subsets.includes(filters.subset)) filters.subset = "";
  select("examples", "subset", "Subset", ["", ...subsets], (s) => s || "all", filters, search);
}

function verdictButtons(others) {
  const holder = document.querySelector("#controls-examples .segments");
  for (const kind of Object.keys(GLYPH)) {
    const count = others.filter(({ example }) => example.flip === kind).length;
    let button = holder.querySelector(`[data-flip="${kind}"]`);
    if (!button && (count || filters.flips.has(kind))) {
      const press = () => {
        if (!filters.flips.delete(kind)) filters.flips.add(kind);
        remember("examples-verdicts", [...filters.flips].join());
        search();
      };
      button = el("button", { type: "button", "data-flip": kind, click: press });
      holder.append(button);
    }
    button?.setAttribute("aria-pressed", String(filters.flips.has(kind)));
    if (button) button.textContent = `${GLYPH[kind]} ${kind} ${count}`;
  }
}

function addCards() {
  for (const entries of found.slice(onPage, onPage + PAGE)) $("cards").append(card(entries));
  onPage = Math.min(found.length, onPage + PAGE);
  $("more").hidden = onPage >= found.length;
  $("more").textContent = `Show ${Math.min(PAGE, found.length - onPage)} more`;
}

/* From a figure or a row of a table to the answers behind it. */
async function openCell(cell, there = true, row = rowOf(cell, state.study) || rowOf(cell)) {
  if (!$("controls-examples")) return;
  if (there) {
    // The way back leads to where the cell was chosen.
    notePlace();
    history.pushState(null, "", location.href);
    writeAddress("#examples");
  }
  if (row)
    for (const name of ["study", "where", "bench"]) {
      state[name] = text(row, name);
      remember(`scope-${name}`, state[name]);
    }
  filters.cell = cell;
  remember("examples-cell", cell);
  if (there) {
    filters.flips.clear();
    remember("examples-verdicts", "");
  }
  if (cell && DATA.served && !BOOKS.has(cell)) await fetchCell(cell);
  update();
  if (!there) return;
  keepInPlace($("examples"));
  $("examples-cell").focus({ preventScroll: true });
}

async function fetchCell(cell) {
  $("found").textContent = "Loading …";
  opening.add(cell);
  try {
    const answer = await fetch(`${DATA.served}cells/${cell}?scorer=${encodeURIComponent(DATA.scorer)}`);
    if (answer.ok) BOOKS.set(cell, await answer.json());
  } catch (error) {
    console.warn(String(error));
  } finally {
    opening.delete(cell);
  }
}

/* The example browser: filters, and cards with the baseline's answer and the steered one side by side. */
const EXAMPLES = JSON.parse($("examples-data").textContent);
const PAGE = 20;
const SHORT = 600; // characters before "show all"
const DIFFED = 500; // words per side that are compared word by word
const GLYPH = { "flipped right": "▲", "flipped wrong": "▼", "both wrong": "✕", "both right": "✓", right: "✓", wrong: "✕" };
const filters = { arm: "", subset: "", flips: new Set(), words: "" };
let found = [];
let onPage = 0;

/* Control characters as signs that can be seen; direction marks stay, each text is isolated. */
const visible = (words) =>
  words.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
    c === "\r" ? "" : String.fromCharCode(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)),
  );
const stored = (index) => EXAMPLES.texts[index];
const cut = (index) => EXAMPLES.cut[String(index)];

function beginExamples() {
  if (!EXAMPLES || !EXAMPLES.examples.length) return;
  const form = $("controls-examples");
  form.addEventListener("submit", (event) => event.preventDefault());
  const kinds = Object.keys(GLYPH).filter((kind) => EXAMPLES.examples.some((e) => e.flip === kind));
  const buttons = kinds.map((kind) =>
    el("button", {
      type: "button",
      "aria-pressed": "false",
      "data-flip": kind,
      click: (event) => {
        if (filters.flips.has(kind)) filters.flips.delete(kind);
        else filters.flips.add(kind);
        event.currentTarget.setAttribute("aria-pressed", String(filters.flips.has(kind)));
        search();
      },
    }),
  );
  form.append(el("fieldset", { class: "segments", "aria-label": "Verdicts" }, ...buttons));
  const arms = EXAMPLES.cells.map((cell, i) => [String(i), armName(cell)]);
  exampleSelect(form, "arm", "Arm", [["", "all reported cells"], ...arms]);
  const subsets = [...new Set(EXAMPLES.items.flatMap((item) => item.subsets))].filter((s) => s !== "accuracy").sort();
  if (subsets.length) exampleSelect(form, "subset", "Subset", [["", "all"], ...subsets.map((s) => [s, s])]);
  const words = el("input", {
    type: "search",
    id: "examples-words",
    autocomplete: "off",
    input: (event) => {
      filters.words = event.target.value.toLowerCase();
      search();
    },
  });
  form.append(
    el("label", { class: "field search", for: "examples-words" }, el("span", {}, "Search in questions and answers"), words),
  );
  $("more").addEventListener("click", () => {
    const at = $("cards").childElementCount;
    addCards();
    $("cards").children[at]?.focus();
  });
  search();
}

function exampleSelect(form, name, label, options) {
  const id = `examples-${name}`;
  const field = el(
    "select",
    {
      id,
      change: (event) => {
        filters[name] = event.target.value;
        search();
      },
    },
    ...options.map(([value, word]) => el("option", { value }, word)),
  );
  form.append(el("label", { class: "field", for: id }, el("span", {}, label), field));
}

const armOf = (example) => DATA.arms[EXAMPLES.cells[example.cell]];
function armName(cell) {
  const arm = DATA.arms[cell];
  const many = (name) => new Set(Object.values(DATA.arms).map((a) => a[name])).size > 1;
  return [arm.arm, many("where") && `on ${arm.where}`, many("bench") && arm.bench, many("items") && arm.items]
    .filter(Boolean)
    .join(", ");
}

function matches(example, flips) {
  if (flips && filters.flips.size && !filters.flips.has(example.flip)) return false;
  if (filters.arm !== "" && String(example.cell) !== filters.arm) return false;
  const item = EXAMPLES.items[example.item];
  if (filters.subset && !item.subsets.includes(filters.subset)) return false;
  if (!filters.words) return true;
  const texts = [
    item.id,
    stored(item.question),
    stored(item.gold),
    stored(example.answer.text),
    example.baseline ? stored(example.baseline.text) : "",
    ...item.options.map(stored),
  ];
  return texts.some((one) => one.toLowerCase().includes(filters.words));
}

function search() {
  const others = EXAMPLES.examples.filter((example) => matches(example, false));
  for (const button of document.querySelectorAll("[data-flip]")) {
    const kind = button.dataset.flip;
    button.textContent = `${GLYPH[kind]} ${kind} ${others.filter((e) => e.flip === kind).length}`;
  }
  found = others.filter((example) => !filters.flips.size || filters.flips.has(example.flip));
  onPage = 0;
  $("cards").replaceChildren();
  $("found").textContent = found.length
    ? `${found.length.toLocaleString("en")} of ${EXAMPLES.examples.length.toLocaleString("en")} examples`
    : "No example matches.";
  addCards();
}

function addCards() {
  for (const example of found.slice(onPage, onPage + PAGE)) $("cards").append(card(example));
  onPage = Math.min(found.length, onPage + PAGE);
  $("more").hidden = onPage >= found.length;
  $("more").textContent = `Show ${Math.min(PAGE, found.length - onPage)} more`;
}

function card(example) {
  const item = EXAMPLES.items[example.item];
  const arm = armOf(example);
  const images = el(
    "div",
    { class: "images" },
    ...item.images.map((index, i) => {
      const [width, height] = EXAMPLES.pixels[index];
      const small = Math.max(width, height) <= 64;
      return el("img", {
        src: `data:image/webp;base64,${EXAMPLES.pictures[index]}`,
        alt: `Picture ${i + 1} of item ${item.id}`,
        width,
        height,
        ...(small ? { class: "tiny" } : {}),
      });
    }),
  );
  if (!item.images.length) images.append(el("span", { class: "reason" }, "no picture"));
  const kind = { "flipped right": "right", "both right": "right", right: "right" }[example.flip] || "wrong";
  const whence = el(
    "p",
    { class: "whence" },
    el("span", { class: `chip ${kind}` }, `${GLYPH[example.flip]} ${example.flip}`),
    el("bdi", {}, item.id),
    el("span", {}, armName(EXAMPLES.cells[example.cell])),
    ...item.subsets.filter((s) => s !== "accuracy").map((s) => el("span", {}, s)),
  );
  const gold = stored(item.gold);
  const options = item.options.map((index, i) => {
    const letter = String.fromCharCode(65 + i);
    return el("li", { dir: "auto", ...(letter === gold ? { class: "gold" } : {}) }, `${letter} ${visible(stored(index))}`);
  });
  const question = el(
    "div",
    { class: "question" },
    long(item.question, null),
    options.length ? el("ul", { class: "options" }, ...options) : null,
    el("p", { class: "reason" }, "gold ", el("bdi", {}, visible(gold))),
  );
  const base = example.baseline;
  const same = base && base.text === example.answer.text;
  const marks = base && !same ? wordDiff(stored(base.text), stored(example.answer.text)) : null;
  const sides = el("div", { class: "sides" });
  if (base) sides.append(side("direct", base, marks?.before, same ? "the same answer" : ""));
  sides.append(side(arm.arm, example.answer, marks?.after, same ? "the same answer" : ""));
  return el(
    "article",
    { class: "card", tabindex: "-1", "aria-label": `${example.flip}, item ${item.id}` },
    images,
    whence,
    question,
    sides,
  );
}

function side(name, answer, marks, remark) {
  const word = answer.right === null ? "abstained" : answer.right ? "right" : "wrong";
  const tokens = answer.tokens === null ? "" : `${answer.tokens} tokens`;
  const reason = [visible(stored(answer.reason)), tokens, remark].filter(Boolean).join(" · ");
  return el(
    "div",
    { class: `side ${word}` },
    el(
      "h4",
      {},
      el("bdi", {}, name),
      " ",
      el("span", { class: `chip ${word}` }, `${word === "right" ? "✓" : word === "wrong" ? "✕" : "–"} ${word}`),
    ),
    long(answer.text, marks),
    el("p", { class: "reason" }, el("bdi", {}, reason)),
  );
}

/* A text with its marked words; a long one begins short. */
function long(index, marks) {
  const whole = stored(index);
  const parts = marks || [[whole, ""]];
  const body = el("div", { class: "text", dir: "auto" });
  const fill = (most) => {
    let left = most;
    body.replaceChildren();
    for (const [words, tag] of parts) {
      if (left <= 0) break;
      const shown = visible(words.slice(0, left));
      body.append(tag ? el(tag, {}, shown) : shown);
      left -= words.length;
    }
    if (whole.length > most) body.append("…");
  };
  fill(whole.length > SHORT * 1.3 ? SHORT : Infinity);
  if (whole === "") body.append(el("span", { class: "reason" }, "(empty)"));
  const holder = el("div", {}, body);
  const beyond = cut(index);
  const note = beyond
    ? `cut at ${whole.length.toLocaleString("en")} of ${beyond.toLocaleString("en")} ` +
      "characters; all of it is in the study's responses.jsonl"
    : "";
  if (whole.length > SHORT * 1.3) {
    const button = el(
      "button",
      {
        type: "button",
        "aria-expanded": "false",
        click: () => {
          const open = button.getAttribute("aria-expanded") === "true";
          fill(open ? SHORT : Infinity);
          button.setAttribute("aria-expanded", String(!open));
          button.textContent = open ? `Show all ${whole.length.toLocaleString("en")} characters` : "Show less";
        },
      },
      `Show all ${whole.length.toLocaleString("en")} characters`,
    );
    holder.append(button);
  }
  if (note) holder.append(el("p", { class: "reason" }, note));
  return holder;
}

/* Words of two answers, each with "", "del" or "ins": longest common subsequence between the common beginning and end. */
function wordDiff(before, after) {
  const a = before.match(/\s+|\S+/g) || [],
    b = after.match(/\s+|\S+/g) || [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const x = a.slice(start, a.length - end),
    y = b.slice(start, b.length - end);
  const [p, q] = x.length <= DIFFED && y.length <= DIFFED ? common(x, y) : [x.map(() => false), y.map(() => false)];
  const marked = (words, kept, tag) => [
    ...words.slice(0, start).map((w) => [w, ""]),
    ...words.slice(start, words.length - end).map((w, i) => [w, kept[i] || /^\s+$/.test(w) ? "" : tag]),
    ...words.slice(words.length - end).map((w) => [w, ""]),
  ];
  return { before: joined(marked(a, p, "del")), after: joined(marked(b, q, "ins")) };
}

function common(x, y) {
  const width = y.length + 1;
  const table = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      table[i * width + j] =
        x[i] === y[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const [p, q] = [x.map(() => false), y.map(() => false)];
  for (let i = 0, j = 0; i < x.length && j < y.length; ) {
    if (x[i] === y[j]) {
      p[i++] = true;
      q[j++] = true;
    } else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  }
  return [p, q];
}

function joined(parts) {
  const out = [];
  for (const [words, tag] of parts) {
    if (out.length && out[out.length - 1][1] === tag) out[out.length - 1][0] += words;
    else out.push([words, tag]);
  }
  return out;
}

/* One card of the example browser: an item and the answers to it, with the words that differ marked. */
const [HEAD, TAIL] = [350, 250]; // characters of a long text's beginning and end before "show all"
const DIFFED = 500; // words per side that are compared word by word
const SIDES = 6; // answers that a card shows at once; with every null arm's the page would be a hundred screens long

/* Control characters as signs that can be seen; direction marks stay, each text is isolated. */
const visible = (words) =>
  words.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
    c === "\r" ? "" : String.fromCharCode(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)),
  );

/* A study of texts alone has no pictures to miss. */
const PICTURED = PAGED && (PAGED.pictures.length > 0 || PAGED.note !== "");

/* All entries are answers to one item; what is asked for stands first, null arms last, and what flipped before what did not. */
function card(entries) {
  const [{ book }] = entries;
  const item = itemOf(entries[0]);
  const order = Object.keys(GLYPH);
  const last = ({ cell }) => rowOf(cell) !== undefined && text(rowOf(cell), "role") === "null";
  const rank = (entry) => [!filters.flips.has(entry.example.flip), last(entry), order.indexOf(entry.example.flip)];
  const sorted = [...entries].sort((a, b) => rank(a).reduce((found, one, i) => found || one - rank(b)[i], 0));
  const alone = sorted.length === 1;
  const sides = el("div", { class: "sides" });
  const bases = new Map(
    sorted.filter(({ example }) => example.baseline).map(({ example: e }) => [e.baseline.text, e.baseline]),
  );
  for (const base of bases.values()) {
    const only = sorted[0].example.answer;
    const marks = alone && base.text !== only.text ? wordDiff(book.texts[base.text], book.texts[only.text]).before : null;
    sides.append(side(book, "direct", base, marks));
  }
  const armSide = ({ example, cell }) => {
    const base = example.baseline;
    const same = base && base.text === example.answer.text;
    const marks = base && !same ? wordDiff(book.texts[base.text], book.texts[example.answer.text]).after : null;
    return side(book, armName(cell), example.answer, marks, same ? "the same answer" : "", base ? example.flip : "");
  };
  sides.append(...sorted.slice(0, SIDES).map(armSide));
  if (sorted.length > SIDES) {
    const show = () => rest.replaceWith(...sorted.slice(SIDES).map(armSide));
    const rest = el("button", { type: "button", class: "rest", click: show }, counted(sorted.length - SIDES, "more answer"));
    sides.append(rest);
  }
  const whence = [el("bdi", {}, item.id), ...item.subsets.filter((s) => s !== "accuracy").map((s) => el("span", {}, s))];
  return el(
    "article",
    {
      class: PICTURED ? "card" : "card text-only",
      tabindex: "-1",
      "aria-label": `Item ${item.id}: ${sorted.map((e) => e.example.flip).join(", ")}`,
    },
    PICTURED ? pictures(book, item, entries[0].cell) : null,
    el("p", { class: "whence" }, ...whence),
    question(book, item),
    sides,
  );
}

function pictures(book, item, cell) {
  const images = el("div", { class: "images" });
  item.images.forEach((index, i) => {
    const [width, height] = book.pixels[index];
    const small = Math.max(width, height) <= 64;
    const src = `data:image/webp;base64,${book.pictures[index]}`;
    const shape = { width, height, ...(small ? { class: "tiny" } : {}) };
    images.append(el("img", { src, alt: `Picture ${i + 1} of item ${item.id}`, ...shape }));
  });
  if (!item.images.length && !book.pictures && DATA.served) {
    const src = `${DATA.served}cells/${cell}/picture?item=${encodeURIComponent(item.id)}`;
    const gone = (event) => event.target.replaceWith(el("span", { class: "reason" }, "no picture"));
    images.append(el("img", { src, loading: "lazy", class: "fetched", alt: `Picture of item ${item.id}`, error: gone }));
  } else if (!item.images.length) images.append(el("span", { class: "reason" }, "no picture"));
  return images;
}

function question(book, item) {
  const gold = book.texts[item.gold];
  const options = item.options.map((index, i) => {
    const letter = String.fromCharCode(65 + i);
    return el("li", { dir: "auto", ...(letter === gold ? { class: "gold" } : {}) }, `${letter} ${visible(book.texts[index])}`);
  });
  return el(
    "div",
    { class: "question" },
    long(book, item.question, null),
    options.length ? el("ul", { class: "options" }, ...options) : null,
    el("p", { class: "reason" }, "gold ", el("bdi", {}, visible(gold))),
  );
}

function side(book, name, answer, marks, remark = "", flip = "") {
  const word = answer.right === null ? "abstained" : answer.right ? "right" : "wrong";
  const tokens = answer.tokens === null ? "" : `${answer.tokens} tokens`;
  const reason = [visible(book.texts[answer.reason]), tokens, remark].filter(Boolean).join(" · ");
  const sign = { right: "✓", wrong: "✕", abstained: "–" }[word];
  const verdict = flip.startsWith("flipped") ? `${GLYPH[flip]} ${flip}` : `${sign} ${word}`;
  return el(
    "div",
    { class: `side ${word}${flip.startsWith("flipped") ? " flipped" : ""}` },
    el("h4", {}, el("bdi", {}, name), " ", el("span", { class: `chip ${word}` }, verdict)),
    long(book, answer.text, marks),
    el("p", { class: "reason" }, el("bdi", {}, reason)),
  );
}

/* A stretch of a text of marked parts. */
function stretch(parts, from, to) {
  const found = [];
  let at = 0;
  for (const [words, tag] of parts) {
    const shown = visible(words.slice(Math.max(0, from - at), Math.max(0, to - at)));
    if (shown) found.push(tag ? el(tag, {}, shown) : shown);
    at += words.length;
  }
  return found;
}

/* A text with its marked words; of a long one its beginning and its end, where an answer stands. */
function long(book, index, marks) {
  const whole = book.texts[index];
  const parts = marks || [[whole, ""]];
  const body = el("div", { class: "text", dir: "auto" });
  const isLong = whole.length > 1.3 * (HEAD + TAIL);
  const fill = (short) =>
    body.replaceChildren(
      ...(short
        ? [
            ...stretch(parts, 0, HEAD),
            el("span", { class: "reason" }, " … "),
            ...stretch(parts, whole.length - TAIL, whole.length),
          ]
        : stretch(parts, 0, whole.length)),
    );
  fill(isLong);
  if (whole === "") body.append(el("span", { class: "reason" }, "(empty)"));
  const holder = el("div", {}, body);
  const beyond = book.cut[String(index)];
  const note = beyond
    ? `${beyond.toLocaleString("en")} characters, the middle left out here; all of it is in the study's responses.jsonl`
    : "";
  if (isLong) {
    const more = beyond ? "Show more" : `Show all ${whole.length.toLocaleString("en")} characters`;
    const button = el(
      "button",
      {
        type: "button",
        "aria-expanded": "false",
        click: () => {
          const open = button.getAttribute("aria-expanded") === "true";
          fill(open);
          button.setAttribute("aria-expanded", String(!open));
          button.textContent = open ? more : "Show less";
        },
      },
      more,
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

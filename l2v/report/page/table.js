/* Tables that can be sorted and downloaded. A column: {title, of(row) -> text, sort(row) -> number or text, number: bool}. */
function download(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: address, download: name.replace(/[^\w.-]+/g, "_") });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

const csvField = (value) => (/[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value);
const csv = (lines) => lines.map((line) => line.map((value) => csvField(String(value))).join(",") + "\n").join("");

/* results.csv of a study, as it lies on disk. */
function allRows(table) {
  const lines = [table.order];
  for (let i = 0; i < table.length; i++) lines.push(table.order.map((name) => table.text(name, i)));
  return csv(lines);
}

/* A row; one of a cell leads to its answers, the cell's name by keyboard too. */
function tableRow(row, columns) {
  const open = () => openCell(text(row, "cell"), true, row);
  const content = (c) =>
    c.opens ? el("button", { type: "button", class: "opens", title: "Its responses", click: open }, c.of(row)) : c.of(row);
  const clicked = (event) => event.target.closest("button") || String(getSelection()) || open();
  return el(
    "tr",
    row.table ? { class: "opens", click: clicked } : {},
    ...columns.map((c) => el("td", c.number ? { class: "number" } : { dir: "auto" }, content(c))),
  );
}

/* sorting: {by, down}, the order that the table is made in, if it shall outlive the table. */
function dataTable({ columns, rows, most, file, label, sorting }) {
  const body = el("tbody");
  const rest = el("button", { type: "button", click: () => fill(body.childElementCount + most) });
  let order = rows;
  const fill = (upTo) => {
    for (const row of order.slice(body.childElementCount, upTo)) {
      body.append(tableRow(row, columns));
    }
    const left = order.length - body.childElementCount;
    rest.hidden = left <= 0;
    rest.textContent = `Show ${Math.min(left, most)} more of ${left}`;
  };
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", click: () => turn(column, button.parentElement) }, column.title);
    return el("th", { scope: "col", ...(column.number ? { class: "number" } : {}) }, button);
  });
  const turn = (column, head) => {
    const down = head.getAttribute("aria-sort") !== "descending";
    if (sorting) {
      Object.assign(sorting, { by: column.title, down });
      remember("table-sort", `${column.title}:${down ? "descending" : "ascending"}`);
    }
    sortBy(column, head, down);
  };
  const sortBy = (column, head, down) => {
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = column.sort || column.of;
    order = [...rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const gapX = x === "" || Number.isNaN(x),
        gapY = y === "" || Number.isNaN(y);
      if (gapX || gapY) return gapX - gapY;
      return (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })) * (down ? -1 : 1);
    });
    body.replaceChildren();
    fill(most);
  };
  fill(most);
  const at = columns.findIndex((column) => column.title === sorting?.by);
  if (at >= 0) sortBy(columns[at], heads[at], sorting.down);
  const field = (c, row) => (c.number ? c.of(row).replaceAll("−", "-") : c.of(row));
  const save = () =>
    download(file, csv([columns.map((c) => c.title), ...order.map((row) => columns.map((c) => field(c, row)))]));
  return el(
    "div",
    {},
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": label || "Numbers" },
      el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body),
    ),
    el(
      "div",
      { class: "after" },
      rest,
      el("button", { type: "button", class: "save", click: save }, "This table as CSV"),
      el("span", {}, `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"}`),
    ),
  );
}

/* Columns that figures and the table of cells share. */
const column = (title, name) => ({ title, of: (row) => text(row, name) });
const number = (title, name, words) => ({
  title,
  number: true,
  of: (row) => words(num(row, name)),
  sort: (row) => num(row, name),
});
const loose = (title, name) => ({
  title,
  number: true,
  of: (row) => text(row, name),
  sort: (row) => (text(row, name) === "" ? "" : known(Number(text(row, name))) ? Number(text(row, name)) : text(row, name)),
});
const VALUE = () => ({
  title: `${scoreName()} % [95 %]`,
  number: true,
  of: (row) => `${share(num(row, "value"))}${mark(row)} ${interval(row)}`.trim(),
  sort: (row) => num(row, "value"),
});
const DIFF = {
  title: "to direct, points [95 %]",
  number: true,
  of: (row) => `${points(num(row, "diff"))} ${gap(row)}`.trim(),
  sort: (row) => num(row, "diff"),
};

const SELDOM = ["unresolved_share", "guessed_share"]; // shares that are shown where they say something

function cellColumns(rows) {
  const where = [
    ["study", "study"],
    ["target", "where"],
    ["benchmark", "bench"],
    ["items", "items"],
  ];
  const columns = where.filter(([, name]) => distinct(rows, name).length > 1).map(([title, name]) => column(title, name));
  const elsewhere = rows.some((row) => text(row, "source_layer") !== text(row, "layer"));
  const settings = SWEPT.filter((name) => name !== "source_layer" || elsewhere).map((name) => loose(wordOf(name), name));
  const figures = [VALUE(), number("n", "n", whole), DIFF];
  // Where there is little room what was measured comes first.
  columns.push(column("arm", "arm"), ...(innerWidth < 620 ? [...figures, ...settings] : [...settings, ...figures]));
  columns.push(
    number("p (Holm)", "p_holm", pText),
    number("p (best of grid)", "p_best_of_grid", pText),
    loose("cells searched", "budget"),
  );
  const flips = (row) =>
    known(num(row, "flips_right")) ? `+${whole(num(row, "flips_right"))} −${whole(num(row, "flips_wrong"))}` : "";
  columns.push({ title: "flips", number: true, of: flips, sort: (row) => num(row, "flips_right") - num(row, "flips_wrong") });
  columns.push(number("tokens", "tokens", (v) => (known(v) ? v.toFixed(1) : "")));
  for (const [name, title] of Object.entries(DATA.names.shares)) {
    if (SELDOM.includes(name) && !rows.some((row) => num(row, name) > 0)) continue;
    columns.push(number(title, name, (v) => (known(v) ? (100 * v).toFixed(0) : "")));
  }
  columns.push({ ...column("cell", "cell"), opens: true });
  return columns.filter((c) => rows.some((row) => c.of(row) !== ""));
}

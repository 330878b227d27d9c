/* Points with intervals, a line each, names at the left or, where there is little room, above. */
function forest(lines, title, width, zero) {
  const look = theme();
  const narrow = width < 620;
  // On paper up to sixty lines (what a comparison draws), their axis and their caption share a sheet.
  const room = paper.on ? Math.max(12, (HEAT.sheet - 176) / lines.length) : Infinity;
  const step = Math.min(narrow ? 42 : 25, room);
  const y = lines.map((_, i) => lines.length - i);
  // A trace's intervals have one colour.
  const groups = [...new Set(lines.map((line) => line.colour))];
  const traces = groups.map((colour) => {
    const of = lines.map((line, i) => ({ ...line, y: y[i] })).filter((line) => line.colour === colour);
    return {
      type: "scatter",
      mode: "markers",
      x: of.map((l) => l.x),
      y: of.map((l) => l.y),
      text: of.map((l) => l.hover),
      customdata: of.map((l) => l.cell),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: colour, size: 9, symbol: of.map((l) => l.symbol || "circle") },
      showlegend: false,
      error_x: {
        type: "data",
        symmetric: false,
        array: of.map((l) => (known(l.high) ? l.high - l.x : 0)),
        arrayminus: of.map((l) => (known(l.low) ? l.x - l.low : 0)),
        color: colour,
        thickness: 1.6,
        width: 0,
      },
    };
  });
  const names = lines.map((line, i) => ({
    text: plain(shortened(line.name, 52)),
    x: 0,
    xref: "paper",
    xanchor: "left",
    y: y[i],
    yshift: 13,
    showarrow: false,
    font: { size: 11 },
    bgcolor: look.paper,
    borderpad: 1,
  }));
  const most = width > 800 ? 62 : 46;
  const longest = Math.max(...lines.map((line) => Math.min(most, line.name.length)));
  return {
    traces,
    height: 96 + step * lines.length,
    layout: {
      margin: { l: narrow ? 8 : Math.min(420, 24 + 6.6 * longest), r: 14, t: 32, b: 44 },
      annotations: narrow ? names : [],
      xaxis: { title: { text: title }, zeroline: false, ...(zero ? { range: around(lines) } : {}) },
      shapes: zero ? [zeroLine("x")] : [],
      yaxis: {
        range: [0.4, lines.length + (narrow ? 0.9 : 0.6)],
        tickvals: y,
        ticktext: lines.map((line) => plain(shortened(line.name, most))),
        showticklabels: !narrow,
        showgrid: true,
        automargin: false,
        zeroline: false,
        fixedrange: true,
      },
    },
  };
}

/* A range that holds zero and every interval, with room at both ends. */
function around(lines) {
  const ends = [0, ...lines.flatMap((line) => [line.x, line.low, line.high])].filter(known);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = 0.06 * Math.max(high - low, 1);
  return [low - room, high + room];
}

/* No difference, across the whole figure. */
const zeroLine = (axis) => ({
  type: "line",
  layer: "below",
  line: { color: theme().ink, width: 1.5 },
  ...(axis === "x" ? { x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1 } : { y0: 0, y1: 0, xref: "paper", x0: 0, x1: 1 }),
});

const MOST_LINES = 80;
const armsState = { value: "diff" };
SECTIONS.push((rows) => {
  const told = rows.filter((row) => text(row, "told"));
  const compared = told.filter((row) => known(num(row, "diff")));
  select(
    "arms",
    "value",
    "Shown",
    ["diff", "value"].filter((v) => v === "value" || compared.length),
    (v) => chosenValue(v).word(),
    armsState,
  );
  const byDiff = armsState.value === "diff" && compared.length > 0;
  const base = told.filter((row) => text(row, "role") === "baseline");
  const all = (byDiff ? compared : told).slice();
  if (!all.length) return missing("arms", "No forest of arms: no reported cell has a figure for this score and scorer.");
  const key = byDiff ? "diff" : "value";
  const last = (row) => (text(row, "role") === "null" ? 1 : 0);
  all.sort((a, b) => last(a) - last(b) || num(b, key) - num(a, key));
  const shown = all.slice(0, MOST_LINES);
  const several = distinct(shown, "items").length > 1;
  const above = (of) => compared.filter((row) => (text(row, "role") === "null") === of && num(row, "diff_low") > 0).length;
  const nulls = compared.filter((row) => text(row, "role") === "null").length;
  const why = compared.length
    ? ""
    : base.length
      ? "Only the baseline was run, so there is no difference to draw. "
      : "No baseline on these items: accuracies stand alone. ";
  show("arms", {
    sees: byDiff
      ? `The intervals of ${above(false)} of ${counted(compared.length - nulls, "arm")}` +
        (nulls ? ` and ${above(true)} of ${counted(nulls, "null arm")}` : "") +
        " lie above zero, before any correction for their number."
      : why,
    caption:
      `${basis(shown)}, ${distinct(shown, "items").join(" and ")}. ` +
      (byDiff ? "Paired difference to direct on the same items, 95 % bootstrap interval" : "95 % interval") +
      inGrey(shown, "; ") +
      (shown.some((row) => mark(row)) ? "; † selected on these items, biased upwards" : "") +
      (all.length > shown.length ? `; the first ${shown.length} of ${all.length}, the rest is in the table` : "") +
      ".",
    numbers: { columns: cellColumns(all), rows: all, label: "Arms against direct" },
    build: (width) => {
      return forest(
        shown.map((row) => ({
          name: text(row, "arm") + mark(row) + (several ? ` (${text(row, "items")})` : ""),
          ...lookOf(text(row, "arm"), text(row, "role")),
          hover: about(row),
          cell: text(row, "cell"),
          x: 100 * num(row, key),
          low: 100 * num(row, byDiff ? "diff_low" : "low"),
          high: 100 * num(row, byDiff ? "diff_high" : "high"),
        })),
        byDiff ? "difference to direct, points" : `${scoreName()}, %`,
        width,
        byDiff,
      );
    },
  });
});

/* Arms against direct, the grid, length, and the comparison of two studies. Each says what it shows, or why it is not there. */
const VALUES = DATA.names.values.map((v) => ({ ...v, word: () => (v.key === "value" ? `${scoreName()}, %` : v.title) }));
const present = (rows) => VALUES.filter((v) => rows.some((row) => known(num(row, v.key))));
const chosenValue = (key) => VALUES.find((v) => v.key === key);
const span = (counts) => {
  const all = [...new Set(counts.filter(known))].sort((a, b) => a - b);
  return all.length > 1 ? `n = ${all[0]} to ${all[all.length - 1]}` : `n = ${all[0] ?? "?"}`;
};
const basis = (rows) => `Scorer ${state.scorer}, ${span(rows.map((row) => num(row, "n")))}`;

/* Points with intervals, a line each, names at the left or, where there is little room, above. */
function forest(lines, title, width, zero) {
  const look = theme();
  const narrow = width < 620;
  const step = narrow ? 42 : 25;
  const y = lines.map((_, i) => lines.length - i);
  const groups = [...new Set(lines.map((line) => line.colour))];
  const traces = groups.map((colour) => {
    const of = lines.map((line, i) => ({ ...line, y: y[i] })).filter((line) => line.colour === colour);
    return {
      type: "scatter",
      mode: "markers",
      x: of.map((l) => l.x),
      y: of.map((l) => l.y),
      text: of.map((l) => l.hover),
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
    text: plain(clipped(line.name, 52)),
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
  const longest = Math.max(...lines.map((line) => Math.min(46, line.name.length)));
  return {
    traces,
    height: 96 + step * lines.length,
    layout: {
      margin: { l: narrow ? 8 : Math.min(330, 24 + 6.6 * longest), r: 14, t: 32, b: 44 },
      annotations: narrow ? names : [],
      xaxis: { title: { text: title }, zeroline: zero, zerolinewidth: 1.5, zerolinecolor: look.ink },
      yaxis: {
        range: [0.4, lines.length + (narrow ? 0.9 : 0.6)],
        tickvals: y,
        ticktext: lines.map((line) => plain(clipped(line.name, 46))),
        showticklabels: !narrow,
        showgrid: true,
        automargin: false,
        zeroline: false,
        fixedrange: true,
      },
    },
  };
}

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
      ? `The intervals of ${above(false)} of ${compared.length - nulls} arms` +
        (nulls ? ` and ${above(true)} of ${nulls} null arms` : "") +
        " lie above zero, before any correction for their number."
      : why,
    caption:
      `${basis(shown)}, ${distinct(shown, "items").join(" and ")}. ` +
      (byDiff ? "Paired difference to direct on the same items, 95 % bootstrap " + "interval" : "95 % Wilson interval") +
      "; null arms in grey" +
      (shown.some((row) => mark(row)) ? "; † selected on test, biased upwards" : "") +
      (all.length > shown.length ? `; the first ${shown.length} of ${all.length}, the rest is in the ` + "table" : "") +
      ".",
    numbers: { columns: cellColumns(all), rows: all, label: "Arms against direct" },
    build: (width) => {
      const { palette } = theme();
      const colour = (row) => ({ null: palette[6], baseline: palette[7], other: palette[1] })[text(row, "role")] || palette[0];
      return forest(
        shown.map((row) => ({
          name: text(row, "arm") + mark(row) + (several ? ` (${text(row, "items")})` : ""),
          colour: colour(row),
          hover: about(row),
          x: 100 * num(row, key),
          symbol: text(row, "role") === "null" ? "diamond-open" : text(row, "role") === "other" ? "square" : "circle",
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

/* The grid: one panel per arm and k. */
const gridState = { arm: "", value: "value" };
const MOST_PANELS = 24;
const ALL = "all arms but nulls";
const ordered = (values) =>
  [...values].sort((a, b) =>
    known(Number(a)) && known(Number(b)) ? Number(a) - Number(b) : String(a).localeCompare(String(b), "en", { numeric: true }),
  );

function panels(rows) {
  const found = new Map();
  for (const row of rows) {
    const key = JSON.stringify([text(row, "arm"), text(row, "cutoff"), text(row, "panel")]);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(row);
  }
  return [...found.values()].sort(
    (a, b) =>
      text(a[0], "arm").localeCompare(text(b[0], "arm"), "en", { numeric: true }) ||
      Number(text(a[0], "cutoff")) - Number(text(b[0], "cutoff")),
  );
}

SECTIONS.push((rows) => {
  itemsSelect("grid", rows);
  const here = rows.filter((row) => text(row, "items") === state.items && text(row, "layer") !== "");
  const swept = panels(here).filter(
    (panel) =>
      new Set(panel.map((row) => text(row, "layer"))).size > 1 || new Set(panel.map((row) => text(row, "alpha"))).size > 1,
  );
  const arms = [...new Set(swept.map((panel) => text(panel[0], "arm")))];
  const overview = swept.filter((panel) => text(panel[0], "role") !== "null");
  const together = overview.length <= MOST_PANELS && new Set(overview.map((panel) => text(panel[0], "arm"))).size > 1;
  const options = together ? [ALL, ...arms] : arms;
  if (!options.includes(gridState.arm))
    gridState.arm = options.find((o) => (o === ALL && innerWidth >= 700) || o.startsWith("l2v")) || options[0] || "";
  select("grid", "arm", "Arm", options, (v) => v, gridState);
  const values = present(here).map((v) => v.key);
  if (!values.includes(gridState.value)) gridState.value = "value";
  select("grid", "value", "Colour", values.length ? values : ["value"], (v) => chosenValue(v).word(), gridState);
  if (!here.length) return missing("grid", `No grid: no cell on ${state.items} injects a vector.`);
  if (!swept.length)
    return missing(
      "grid",
      `No grid: on ${state.items} no arm was run at more than one layer or alpha` +
        `${here.length > 1 ? "; see the curves below" : ""}.`,
    );
  const shown = gridState.arm === ALL ? overview : swept.filter((panel) => text(panel[0], "arm") === gridState.arm);
  const flat = shown.flat();
  const value = chosenValue(gridState.value);
  const best = flat.reduce((a, b) => (num(b, value.key) > num(a, value.key) || !known(num(a, value.key)) ? b : a));
  const chosen = flat.some((row) => text(row, "chosen"));
  show("grid", {
    sees:
      `Highest: ${text(best, "arm")} at layer ${text(best, "layer")}, alpha ` +
      `${text(best, "alpha")}` +
      (text(best, "cutoff") ? `, k ${text(best, "cutoff")}` : "") +
      `: ${printed(value, best)}.`,
    caption:
      `${basis(flat)}, ${state.items}; colour: ${value.word()}. ${flat.length} cells; the ` +
      `highest of so many is biased upwards${chosen ? "; ○ the cell that was chosen" : ""}. ` +
      `Alpha ${scaleWords(flat)}.`,
    numbers: { columns: cellColumns(flat), rows: flat, label: "The grid's numbers" },
    build: (width) => heatmaps(shown, value, width),
  });
});

const printed = (value, row) =>
  value.diverging
    ? `${points(num(row, value.key))} points ${gap(row)}`
    : value.key === "value"
      ? `${share(num(row, "value"))} % ${interval(row)}`
      : `${(value.scale * num(row, value.key)).toFixed(1)} (${value.word()})`;
const scaleWords = (rows) => {
  const scales = distinct(rows, "scale");
  return scales.length > 1
    ? "in the units of each arm's scale"
    : scales[0] === "relative"
      ? "in median activation norms of the layer"
      : "in norms of the source's direction (Eq. 7)";
};

function heatmaps(shown, value, width) {
  const look = theme();
  const xs = shown.map((panel) => ordered(new Set(panel.map((row) => text(row, "alpha")))));
  const ys = shown.map((panel) => ordered(new Set(panel.map((row) => text(row, "layer")))));
  const mostX = Math.max(...xs.map((x) => x.length)),
    mostY = Math.max(...ys.map((y) => y.length));
  const across = Math.max(
    1,
    Math.min(shown.length, Math.floor((width - 60) / Math.max(width < 620 ? 138 : 205, 30 * mostX + 40))),
  );
  const down = Math.ceil(shown.length / across);
  const tall = Math.max(78, Math.min(480, mostY > 12 ? 20 * mostY : 36 * mostY));
  const [top, under, left, right, between] = [64, 40, 52, 12, 44];
  const height = top + under + down * tall + (down - 1) * (between + 24);
  const inner = height - top - under,
    innerX = width - left - right;
  const all = shown
    .flat()
    .map((row) => value.scale * num(row, value.key))
    .filter(known);
  const reach = Math.max(1e-9, ...all.map(Math.abs));
  const [low, high] = value.diverging ? [-reach, reach] : [Math.min(...all), Math.max(...all)];
  const layout = {
    margin: { l: left, r: right, t: top, b: under },
    annotations: [],
    showlegend: false,
    coloraxis: {
      colorscale: value.diverging ? look.diverging : look.sequential,
      cmin: low,
      cmax: high === low ? low + 1 : high,
      colorbar: {
        orientation: "h",
        thickness: 9,
        len: Math.min(0.6, 240 / innerX),
        x: 0,
        xanchor: "left",
        y: 1,
        yanchor: "bottom",
        yref: "paper",
        ypad: 26,
        xpad: 0,
        outlinewidth: 0,
        tickfont: { size: 10 },
        title: { text: "" },
      },
    },
  };
  const traces = [];
  const padX = between / innerX;
  shown.forEach((panel, i) => {
    const [c, r] = [i % across, Math.floor(i / across)];
    const w = (1 - padX * (across - 1)) / across,
      h = tall / inner,
      gapY = (between + 24) / inner;
    const name = i ? String(i + 1) : "";
    const grid = ys[i].map(() => xs[i].map(() => null));
    for (const row of panel) {
      const [x, y] = [xs[i].indexOf(text(row, "alpha")), ys[i].indexOf(text(row, "layer"))];
      if (!grid[y][x] || num(row, "value") > num(grid[y][x], "value")) grid[y][x] = row;
    }
    const number = (row) => (row && known(num(row, value.key)) ? value.scale * num(row, value.key) : null);
    const few = mostX <= 9 && (innerX * w) / xs[i].length > 30;
    traces.push({
      type: "heatmap",
      x: xs[i],
      y: ys[i],
      z: grid.map((line) => line.map(number)),
      coloraxis: "coloraxis",
      xaxis: `x${name}`,
      yaxis: `y${name}`,
      xgap: 1.5,
      ygap: 1.5,
      hoverongaps: false,
      text: grid.map((line) =>
        line.map((row) => (number(row) === null ? "" : number(row).toFixed(Math.abs(reach) >= 100 ? 0 : 1))),
      ),
      texttemplate: few ? "%{text}" : "",
      textfont: { size: 10.5 },
      customdata: grid.map((line) => line.map((row) => (row ? about(row) : ""))),
      hovertemplate: "%{customdata}<extra></extra>",
    });
    const circles = panel.filter((row) => text(row, "chosen"));
    if (circles.length)
      traces.push({
        type: "scatter",
        mode: "markers",
        x: circles.map((row) => text(row, "alpha")),
        y: circles.map((row) => text(row, "layer")),
        xaxis: `x${name}`,
        yaxis: `y${name}`,
        hoverinfo: "skip",
        marker: { symbol: "circle-open", size: few ? 30 : 12, color: look.ink, line: { width: 1.4 } },
      });
    const domain = [c * (w + padX), c * (w + padX) + w];
    const ceiling = 1 - r * (h + gapY);
    const lowest = i + across >= shown.length;
    layout[`xaxis${name}`] = {
      domain,
      anchor: `y${name}`,
      type: "category",
      range: [-0.5, xs[i].length - 0.5],
      showgrid: false,
      tickfont: { size: 10 },
      ticks: "",
      automargin: false,
      title: lowest ? { text: "alpha", font: { size: 11 }, standoff: 4 } : undefined,
    };
    layout[`yaxis${name}`] = {
      domain: [Math.max(0, ceiling - h), ceiling],
      anchor: `x${name}`,
      type: "category",
      range: [-0.5, ys[i].length - 0.5],
      showgrid: false,
      tickfont: { size: 10 },
      ticks: "",
      automargin: false,
      title: c === 0 ? { text: "layer", font: { size: 11 }, standoff: 4 } : undefined,
    };
    const after = [text(panel[0], "cutoff") ? `k ${text(panel[0], "cutoff")}` : "", text(panel[0], "panel")]
      .filter(Boolean)
      .join(" · ");
    const title =
      clipped(text(panel[0], "arm"), Math.max(8, Math.floor((innerX * w) / 6.3) - after.length - 3)) + (after && ` · ${after}`);
    layout.annotations.push({
      text: plain(title),
      xref: "paper",
      yref: "paper",
      x: domain[0],
      y: ceiling,
      xanchor: "left",
      yanchor: "bottom",
      yshift: 3,
      showarrow: false,
      font: { size: 11.5 },
    });
  });
  return { traces, layout, height };
}

/* Length against accuracy: every cell on the items, reported ones larger. */
SECTIONS.push((rows) => {
  itemsSelect("length", rows);
  const here = rows.filter(
    (row) => text(row, "items") === state.items && known(num(row, "tokens")) && known(num(row, "value")),
  );
  if (here.length < 2)
    return missing(
      "length",
      `No picture of length: ${here.length ? "only one cell" : "no cell"} on ${state.items} has both a length and a score.`,
    );
  const longest = here.reduce((a, b) => (num(b, "tokens") > num(a, "tokens") ? b : a));
  show("length", {
    sees:
      "Mean answers reach from " +
      Math.min(...here.map((row) => num(row, "tokens"))).toFixed(1) +
      ` to ${num(longest, "tokens").toFixed(1)} tokens; the longest, ${text(longest, "arm")}, ` +
      `scores ${share(num(longest, "value"))} %.`,
    caption:
      `${basis(here)}, ${state.items}; ${here.length} cells, a point each, reported ones ` +
      "larger; null arms in grey. A method that only makes answers longer moves to the right, " +
      "not up.",
    numbers: { columns: cellColumns(here), rows: here, label: "Length and accuracy" },
    build: (width) => {
      const look = theme();
      const names = distinct(
        here.filter((row) => text(row, "role") !== "null"),
        "arm",
      );
      const styles = looks(names);
      const groups = [
        ...(here.some((row) => text(row, "role") === "null") ? [""] : []),
        ...names.slice(0, 12),
        ...(names.length > 12 ? ["…"] : []),
      ];
      const of = (group, row) =>
        group === ""
          ? text(row, "role") === "null"
          : text(row, "role") !== "null" &&
            (group === "…" ? names.indexOf(text(row, "arm")) >= 12 : text(row, "arm") === group);
      const traces = groups.map((group) => {
        const points = here.filter((row) => of(group, row));
        const style =
          group === "" || group === "…" ? { colour: look.palette[6], symbol: group ? "x" : "diamond" } : styles[group];
        return {
          type: "scatter",
          mode: "markers",
          name: plain(clipped(group === "" ? "null arms" : group === "…" ? "other arms" : group, 40)),
          x: points.map((row) => num(row, "tokens")),
          y: points.map((row) => 100 * num(row, "value")),
          text: points.map(about),
          hovertemplate: "%{text}<extra></extra>",
          marker: {
            color: hexFade(style.colour, 0.78),
            symbol: style.symbol,
            size: points.map((row) => (text(row, "told") || text(row, "chosen") ? 12 : 7)),
            line: { width: 0.8, color: look.raised },
          },
        };
      });
      return {
        traces,
        height: width < 620 ? 470 : 430,
        layout: {
          xaxis: { title: { text: "mean output tokens" } },
          yaxis: { title: { text: `${plain(scoreName())}, %` } },
          legend: { orientation: "h", y: width < 620 ? -0.32 : -0.2 },
          margin: { l: 54, r: 12, t: 32, b: 50 },
        },
      };
    },
  });
});

/* Two studies: the paired difference of cells with the same settings. */
if (DATA.pairs.length || $("fig-compare")) {
  SECTIONS.push(() => {
    if (!$("fig-compare")) return;
    const [first, second] = TABLES.map((table) => table.study);
    const all = DATA.pairs;
    if (!all.length) return missing("compare", `No cell of ${second} has the same settings as one of ${first}.`);
    const paired = all.filter((pair) => pair.diff !== null);
    const columns = [
      ["target", (p) => p.where],
      ["benchmark", (p) => `${p.bench}, ${p.items}`],
      ["arm", (p) => p.arm],
      ["settings", (p) => p.settings],
      [`${first} %`, (p) => share(p.values[0]), (p) => p.values[0]],
      [`${second} %`, (p) => share(p.values[1]), (p) => p.values[1]],
      ["n", (p) => String(p.n), (p) => p.n],
      [
        "difference, points [95 %]",
        (p) => (p.diff === null ? "" : `${points(p.diff)} [${points(p.low)}, ${points(p.high)}]`),
        (p) => p.diff ?? NaN,
      ],
      ["flips", (p) => (p.diff === null ? "" : `+${p.right} −${p.wrong}`), (p) => p.right - p.wrong],
      ["p", (p) => pText(p.p ?? NaN), (p) => p.p ?? NaN],
      ["p (Holm)", (p) => pText(p.p_holm ?? NaN), (p) => p.p_holm ?? NaN],
      ["differs in", (p) => p.differs],
    ]
      .map(([title, of, sort]) => ({ title, of, sort, number: Boolean(sort) }))
      .filter((c) => all.some((p) => c.of(p) !== ""));
    const numbers = { columns, rows: all, label: "Cells of both studies" };
    const clear = paired.filter((p) => p.p_holm !== null && p.p_holm < 0.05);
    const same = paired.filter((p) => p.right + p.wrong === 0).length;
    const sees = paired.length
      ? `${clear.filter((p) => p.diff > 0).length} of ${paired.length} cells are better in ` +
        `${second}, ${clear.filter((p) => p.diff < 0).length} worse (Holm p < 0.05); ${same} ` +
        "agree on every item."
      : "No pair answered the same items; values stand side by side in the numbers.";
    const lines = (paired.length ? paired : []).slice(0, 60);
    if (!lines.length) {
      missing("compare", sees);
      $("numbers-compare").hidden = false;
      $("numbers-compare").replaceChildren(
        $("numbers-compare").firstElementChild,
        dataTable({ ...numbers, most: SHOWN_NUMBERS, file: "compared.csv" }),
      );
      return;
    }
    show("compare", {
      sees,
      numbers,
      caption:
        `Scorer ${DATA.scorer}; ${second} minus ${first} on the items that both answered, 95 % ` +
        `paired bootstrap interval, ${span(lines.map((p) => p.n))}` +
        (all.length > lines.length ? `; ${lines.length} of ${all.length} pairs drawn, all are in the ` + "numbers" : "") +
        ".",
      build: (width) =>
        forest(
          lines.map((p) => ({
            name: [p.arm, p.settings, distinct(ROWS, "where").length > 1 ? p.where : ""].filter(Boolean).join(", "),
            colour: theme().palette[0],
            x: 100 * p.diff,
            low: 100 * p.low,
            high: 100 * p.high,
            hover: [
              `<b>${plain(p.arm)}</b>`,
              plain(p.settings),
              `${plain(first)} ${share(p.values[0])} %, ${plain(second)} ${share(p.values[1])} %, n = ${p.n}`,
              `${points(p.diff)} points [${points(p.low)}, ${points(p.high)}], Holm p ${pText(p.p_holm ?? NaN)}`,
            ]
              .filter(Boolean)
              .join("<br>"),
          })),
          `${plain(second)} minus ${plain(first)}, points`,
          width,
          true,
        ),
    });
  });
}

/* The grid: one panel per arm and k. */
const gridState = { arm: "", value: "value" };
const MOST_PANELS = 24;
const ALL = "all arms but nulls";
const ordered = (values) =>
  [...values].sort((a, b) =>
    known(Number(a)) && known(Number(b)) ? Number(a) - Number(b) : String(a).localeCompare(String(b), "en", { numeric: true }),
  );

/* Along which two settings an arm is laid out: alpha by layer, or, where it has none, what else it is searched over. */
function axesOf(rows) {
  const varies = (name) => distinct(rows, name).filter((v) => v !== "").length > 1;
  if (varies("alpha") || varies("layer")) return ["alpha", "layer"];
  const [x, y] = SWEPT.filter(varies);
  return x ? [x, y || "layer"] : null;
}

/* {rows, axes, rest}: a panel per arm and value of the settings that are on neither axis. */
function panels(rows) {
  const arms = groupedBy(rows, (row) => text(row, "arm"));
  const found = [...arms.values()].flatMap((of) => {
    const axes = axesOf(of);
    if (!axes) return [];
    const rest = SWEPT.filter((name) => !axes.includes(name) && name !== "source_layer");
    const words = (row) => rest.filter((name) => text(row, name) !== "").map((name) => `${wordOf(name)} ${text(row, name)}`);
    const parts = groupedBy(of, (row) => [...words(row), text(row, "panel")].filter(Boolean).join(" · "));
    return [...parts].map(([after, part]) => ({ rows: part, axes, after, arm: text(of[0], "arm"), role: text(of[0], "role") }));
  });
  const order = (a, b) => a.localeCompare(b, "en", { numeric: true });
  return found
    .filter(({ rows, axes }) => axes.some((name) => distinct(rows, name).length > 1))
    .sort((a, b) => order(a.arm, b.arm) || order(a.after, b.after));
}

SECTIONS.push((rows) => {
  itemsSelect("grid", rows);
  const here = rows.filter((row) => text(row, "items") === state.items && text(row, "role") !== "baseline");
  const swept = panels(here);
  const arms = [...new Set(swept.map((panel) => panel.arm))];
  const overview = swept.filter((panel) => panel.role !== "null");
  const together = overview.length <= MOST_PANELS && new Set(overview.map((panel) => panel.arm)).size > 1;
  const options = together ? [ALL, ...arms] : arms;
  if (!options.includes(gridState.arm))
    gridState.arm = options.find((o) => (o === ALL && innerWidth >= 700) || o.startsWith("l2v")) || options[0] || "";
  select("grid", "arm", "Arm", options, (v) => v, gridState);
  const values = present(here).map((v) => v.key);
  if (!values.includes(gridState.value)) gridState.value = "value";
  select("grid", "value", "Colour", values.length ? values : ["value"], (v) => chosenValue(v).word(), gridState);
  if (!here.length) return missing("grid", `No grid: only the baseline was run on ${state.items}.`);
  if (!swept.length)
    return missing("grid", `No grid: on ${state.items} no arm was run at more than one layer, alpha or the like.`);
  const shown = gridState.arm === ALL ? overview : swept.filter((panel) => panel.arm === gridState.arm);
  const flat = shown.flatMap((panel) => panel.rows);
  const value = chosenValue(gridState.value);
  const best = highest(flat, (row) => num(row, value.key));
  const chosen = flat.some((row) => text(row, "chosen"));
  show("grid", {
    sees:
      best.shared > 1
        ? `${best.shared} of ${flat.length} cells share the highest: ${printed(value, best.row)}.`
        : `Highest: ${text(best.row, "arm")} at ${settingsOf(best.row)}: ${printed(value, best.row)}.`,
    caption:
      `${basis(flat)}, ${state.items}; colour: ${value.word()}. ${counted(flat.length, "cell")}; the ` +
      `highest of them is biased upwards${chosen ? "; a ring: the cell that was chosen" : ""}. ` +
      (flat.some((row) => text(row, "alpha")) ? `Alpha ${scaleWords(flat)}.` : ""),
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
  const scales = distinct(
    rows.filter((row) => text(row, "alpha") !== ""),
    "scale",
  );
  return scales.length > 1
    ? "in the units of each arm's scale"
    : scales[0] === "relative"
      ? "in median activation norms of the layer"
      : "in norms of the source's direction (Eq. 7)";
};

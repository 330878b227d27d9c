/* Parallel coordinates: a line per cell through its settings to its score; a stretch of an axis that is brushed is a filter. */
const MOST_STRANDS = 2500;
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const HOLD = "; drag along an axis to hold its values, or write a filter above the table";

/* The axes: settings that take several values, each value at an equal distance, then accuracy between round figures. The first
   tells which arm a line's colour is, where there is room. */
function axesThrough(rows, narrow) {
  const names = [...(narrow ? [] : ["method"]), "source", ...SWEPT.filter((name) => name !== "source_layer"), "seed"];
  const axes = names
    .map((name) => ({ name, word: wordOf(name), values: ordered(distinct(rows, name).map((v) => v || "none")) }))
    .filter(({ values }) => values.length > 1)
    .map((axis) => ({
      ...axis,
      at: (row) => axis.values.indexOf(text(row, axis.name) || "none") / (axis.values.length - 1),
      ticks: axis.values.map((v, i) => [i / (axis.values.length - 1), v]),
    }));
  const scores = rows.map((row) => 100 * num(row, "value"));
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  const step = [1, 2, 5, 10].find((one) => most - least <= 6 * one) ?? 20;
  const low = step * Math.floor(least / step);
  const span = Math.max(step, step * Math.ceil(most / step) - low);
  const ticks = Array.from({ length: span / step + 1 }, (_, i) => [(i * step) / span, String(low + i * step)]);
  return [
    ...axes,
    {
      word: "accuracy",
      title: scoreName(),
      at: (row) => (100 * num(row, "value") - low) / span,
      ticks,
      value: (t) => low + t * span,
      place: (value) => (value - low) / span,
    },
  ];
}

filtered((rows) => {
  itemsSelect("parallel", rows);
  const all = rows.filter(
    (row) => text(row, "items") === state.items && text(row, "role") !== "baseline" && known(num(row, "value")),
  );
  const here = all.slice(0, MOST_STRANDS);
  if (here.length < 2) return missing("parallel", `No parallel coordinates: fewer than two cells on ${state.items}.`);
  const axes = axesThrough(here, innerWidth < 700 || paper.on);
  if (axes.length < 2) return missing("parallel", `No parallel coordinates: on ${state.items} no setting takes two values.`);
  const shown = new Set(kept(here));
  show("parallel", {
    sees: conditions(view.filter).tests.length
      ? `${shown.size.toLocaleString("en")} of ${counted(here.length, "cell")} have ${view.filter}.`
      : `${counted(here.length, "cell")}${paper.on ? "" : HOLD}.`,
    caption:
      `${basis(here)}, ${state.items}. A line per cell in its arm's colour` +
      inGrey(here, ", ") +
      (paper.on ? "" : "; a click opens its responses") +
      (all.length > here.length ? `; the first ${here.length} of ${all.length} cells are drawn.` : "."),
    numbers: { columns: cellColumns([...shown]), rows: [...shown], label: "The cells that are held" },
    draw: (div) => div.replaceChildren(strands(here, shown, axes, div.clientWidth || 640)),
  });
});

function strands(rows, shown, axes, width) {
  const look = theme();
  const longest = Math.max(...axes[0].ticks.map(([, words]) => words.length));
  const [top, height, right] = [34, 270, 56];
  const left = Math.min(20 + 6.5 * longest, width / 3.5);
  const x = (i) => left + (i * (width - left - right)) / Math.max(1, axes.length - 1);
  const y = (t) => top + (1 - t) * height;
  const picture = svg("svg", { width, height: top + height + 24, class: "parallel" });
  const order = [...rows].sort(
    (a, b) => shown.has(a) - shown.has(b) || (text(b, "role") === "null") - (text(a, "role") === "null"),
  );
  for (const row of order) {
    const path = axes.map((axis, i) => `${x(i).toFixed(1)},${y(axis.at(row)).toFixed(1)}`).join(" ");
    const on = shown.has(row);
    const line = svg("polyline", { points: path, stroke: on ? lookOf(text(row, "arm"), text(row, "role")).colour : look.hair });
    line.setAttribute("class", on ? "on" : "off");
    if (on) line.append(svg("title", {}, `${text(row, "arm")}, ${settingsOf(row)}: ${share(num(row, "value"))} %`));
    line.addEventListener("click", () => openCell(text(row, "cell"), true, row));
    picture.append(line);
  }
  // Names that would touch each other stand in two rows.
  const raise = x(1) - x(0) < 75 ? 12 : 0;
  for (const [i, axis] of axes.entries())
    picture.append(axisOf(axis, x(i), y, top, height, i === axes.length - 1, i ? 13 : (left - 14) / 6.2, (i % 2) * raise));
  return picture;
}

function axisOf(axis, x, y, top, height, last, room, raised) {
  const every = Math.ceil(axis.ticks.length / 12);
  const labels = axis.ticks
    .filter((_, i) => i === axis.ticks.length - 1 || (i % every === 0 && i + every / 2 < axis.ticks.length - 1))
    .map(([t, words]) =>
      svg("text", { x: x + (last ? 7 : -7), y: y(t) + 4, "text-anchor": last ? "start" : "end" }, shortened(words, room)),
    );
  const named = { x: x + (last ? 54 : 0), y: top - 12 - raised, "text-anchor": last ? "end" : "middle", class: "name" };
  const name = svg("text", named, shortened(axis.title || axis.word, 18));
  const brush = svg("rect", { x: x - 7, width: 14, y: 0, height: 0, class: "brush" });
  const held = stretches(axis, 8 / height).map(([low, high]) =>
    svg("rect", { x: x - 7, width: 14, y: y(high), height: (high - low) * height, class: "brush held" }),
  );
  const zone = svg("rect", { x: x - 11, width: 22, y: top - 6, height: height + 12, class: "zone", "data-axis": axis.word });
  const at = (event) => Math.min(1, Math.max(0, 1 - (event.clientY - zone.getBoundingClientRect().top - 6) / height));
  let from = null;
  zone.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = at(event);
    zone.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  zone.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const [low, high] = [Math.min(from, at(event)), Math.max(from, at(event))];
    brush.setAttribute("y", y(high));
    brush.setAttribute("height", (high - low) * height);
  });
  zone.addEventListener("pointerup", (event) => {
    if (from === null) return; // pressed elsewhere
    const [low, high] = [Math.min(from, at(event)), Math.max(from, at(event))];
    from = null;
    brushed(axis.word, ...heldBy(axis, low, high));
  });
  const line = svg("line", { x1: x, x2: x, y1: top, y2: top + height });
  const release = held.length && !paper.on ? [releaseOf(axis, x, top + height + 15)] : [];
  return svg("g", { class: "axis" }, line, ...held, ...labels, name, brush, zone, ...release);
}

/* What lets go of an axis that is held, below it. */
function releaseOf(axis, x, y) {
  const told = `Let go of ${axis.word}`;
  const sign = svg("g", { class: "release", role: "button", tabindex: 0, "aria-label": told }, svg("title", {}, told));
  sign.append(svg("circle", { cx: x, cy: y, r: 8 }), svg("text", { x, y: y + 4, "text-anchor": "middle" }, "\u00d7"));
  sign.addEventListener("click", () => brushed(axis.word));
  sign.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    brushed(axis.word);
  });
  return sign;
}

/* The stretches of an axis that conditions hold, brushed or typed, from 0 to 1; half: of one value, at most. */
function stretches(axis, half) {
  const tests = conditions(view.filter).tests.filter(isOn(axis.word));
  if (!tests.length) return [];
  if (!axis.place) {
    const around = Math.min(half, 0.5 / (axis.ticks.length - 1));
    return axis.ticks
      .filter(([, value]) => tests.every((test) => holds({ ...test, read: () => value })))
      .map(([t]) => [Math.max(0, t - around), Math.min(1, t + around)]);
  }
  const ends = (signs) => tests.filter(({ sign }) => signs.includes(sign)).map(({ wanted }) => axis.place(Number(wanted)));
  const [low, high] = [Math.max(0, ...ends([">", ">=", "="])), Math.min(1, ...ends(["<", "<=", "="]))];
  return low <= high ? [[Math.max(0, low - half / 4), Math.min(1, high + half / 4)]] : [];
}

/* The conditions of a brushed stretch; a mere click holds nothing. */
function heldBy(axis, low, high) {
  if (high - low < 0.01) return [];
  if (axis.value) return [`${axis.word}>=${axis.value(low).toFixed(1)}`, `${axis.word}<=${axis.value(high).toFixed(1)}`];
  const values = axis.ticks.filter(([t]) => t >= low - 0.02 && t <= high + 0.02).map(([, v]) => v);
  return values.length ? [`${axis.word}=${values.map(quoted).join("|")}`] : [];
}

/* Accuracy along one setting. At each value an arm shows its best cell over the other settings, or the one at settings that
   are held; null arms do the same, so that the band is what the same search finds by chance. */
const ALONG = DATA.names.along;
const SEARCHED = ["layer", "alpha", "cutoff"]; // what can be held at one value
const curveState = { value: "value", ...Object.fromEntries(["along", ...Object.keys(ALONG)].map((name) => [name, ""])) };
const BEST = "";
const MOST_CURVES = 8;
const BOUNDS = { value: ["low", "high"], diff: ["diff_low", "diff_high"] }; // columns of a figure's interval

function armAlong(row) {
  return text(row, row.table.raw[`arm~${curveState.along}`] ? `arm~${curveState.along}` : "arm");
}

/* {arm: [[x, row], …]} in the order of x; of several cells at one x the best by score. */
function profiles(rows) {
  const found = {};
  for (const row of rows) {
    const x = text(row, curveState.along);
    if (x === "") continue;
    found[armAlong(row)] ||= new Map();
    const of = found[armAlong(row)];
    if (!of.has(x) || num(row, "value") > num(of.get(x), "value")) of.set(x, row);
  }
  return Object.fromEntries(Object.entries(found).map(([arm, of]) => [arm, ordered(of.keys()).map((x) => [x, of.get(x)])]));
}

const cellsOf = (found) =>
  Object.values(found)
    .flat()
    .map(([, row]) => row);

/* The settings that several cells of one arm differ in at one value of the axis: only over these is there a best. */
function searchedOver(rows) {
  const points = groupedBy(
    rows.filter((row) => text(row, curveState.along) !== ""),
    (row) => `${armAlong(row)}\n${text(row, curveState.along)}`,
  );
  return SEARCHED.filter(
    (name) => name !== curveState.along && [...points.values()].some((of) => distinct(of, name).length > 1),
  );
}

SECTIONS.push((rows) => {
  itemsSelect("curves", rows);
  const here = rows.filter((row) => text(row, "items") === state.items && text(row, "role") !== "baseline");
  const along = Object.keys(ALONG).filter((name) => distinct(here, name).filter((v) => v !== "").length > 1);
  if (!along.includes(curveState.along))
    curveState.along = ["cutoff", "alpha", "layer", ...along].find((name) => along.includes(name)) || "";
  select("curves", "along", "Along", along.length ? along : [""], (v) => ALONG[v] || "", curveState);
  const values = present(here).map((v) => v.key);
  if (!values.includes(curveState.value)) curveState.value = "value";
  select("curves", "value", "Height", values.length ? values : ["value"], (v) => chosenValue(v).word(), curveState);
  const over = searchedOver(here);
  for (const name of SEARCHED) {
    const options = name === curveState.along ? [BEST] : [BEST, ...ordered(distinct(here, name).filter((v) => v !== ""))];
    if (!options.includes(curveState[name])) curveState[name] = BEST;
    const word = wordOf(name);
    select(
      "curves",
      name,
      word,
      options.length > 2 ? options : [BEST],
      (v) => (v === BEST ? `${over.includes(name) ? "best" : "any"} ${word}` : `${word} ${v}`),
      curveState,
    );
  }
  if (!here.length) return missing("curves", `No curve: only the baseline was run on ${state.items}.`);
  if (!along.length) return missing("curves", `No curve: on ${state.items} no setting takes two values.`);
  const held = here.filter((row) =>
    SEARCHED.every(
      (name) =>
        name === curveState.along ||
        curveState[name] === BEST ||
        text(row, name) === "" ||
        text(row, name) === curveState[name],
    ),
  );
  const isNull = (row) => text(row, "role") === "null" && curveState.along !== "seed";
  const arms = profiles(held.filter((row) => !isNull(row)));
  const nulls = profiles(held.filter(isNull));
  const flat = cellsOf(arms);
  const all = [...flat, ...cellsOf(nulls)];
  if (!all.length)
    return missing("curves", `No curve: no cell has these settings together; choose "best" for one of them.`, true);
  const value = chosenValue(curveState.value);
  const envelope = nullEnvelope(nulls, value);
  const without = distinct(
    held.filter((row) => !isNull(row) && text(row, curveState.along) === ""),
    "arm",
  );
  const searched = searchedOver(held).map(wordOf);
  const settings = SEARCHED.filter((name) => name !== curveState.along && curveState[name] !== BEST).map(
    (name) => `${wordOf(name)} ${curveState[name]}`,
  );
  const heldWords = searched.length
    ? `Each point is the arm's best cell over ${searched.join(" and ")}: biased upwards, null arms by the same search`
    : "One cell per point, nothing is searched over here";
  show("curves", {
    sees: curveSentence(arms, envelope, value),
    caption:
      `${basis([...flat, ...held.slice(0, 1)])}, ${state.items}. ${heldWords}` +
      (settings.length ? `, at ${settings.join(", ")}` : "") +
      (BOUNDS[value.key] ? "; bands: 95 % intervals. " : ". ") +
      (envelope.length
        ? `Grey: lowest to highest of ${counted(Object.keys(nulls).length, "null arm")}; ` +
          (joinable(envelope)
            ? "dashed its upper edge, the best of them."
            : "other null arms at other values, so that nothing joins them.")
        : "No null arm at these settings: what chance finds is not shown.") +
      (without.length ? ` Without ${wordOf(curveState.along)}: ${without.join(", ")}.` : "") +
      (curveState.along === "alpha" ? ` Alpha ${scaleWords(here)}.` : ""),
    numbers: { columns: cellColumns(all), rows: all, label: "The curves' numbers" },
    build: (width) => curves(arms, envelope, value, rows, width),
  });
});

function nullEnvelope(nulls, value) {
  const at = new Map();
  for (const [arm, line] of Object.entries(nulls)) {
    for (const [x, row] of line) {
      if (!known(num(row, value.key))) continue;
      if (!at.has(x)) at.set(x, []);
      at.get(x).push([value.scale * num(row, value.key), row, arm]);
    }
  }
  return ordered(at.keys()).map((x) => {
    const line = at.get(x).sort((a, b) => a[0] - b[0]);
    const [low, high] = [line[0], line[line.length - 1]];
    const who = line.map(([, , arm]) => arm).sort();
    return { x, low: low[0], high: high[0], best: high[1], n: line.length, who: who.join("\n") };
  });
}

/* The same null arms stand behind every value, so that a line between two of them means something. */
const joinable = (envelope) => envelope.every((e) => e.who === envelope[0].who);

function curveSentence(arms, envelope, value) {
  const word = wordOf(curveState.along);
  if (value.key !== "value") return "";
  const lead = Object.keys(arms).find((arm) => arm.startsWith("l2v")) || Object.keys(arms)[0];
  if (!lead || !arms[lead].length) return "Only null arms take these settings.";
  const best = highest(
    arms[lead].map(([, row]) => row),
    (row) => num(row, "value"),
  );
  const top = arms[lead].find(([, row]) => row === best.row);
  const figure = `${share(num(top[1], "value"))} % ${interval(top[1])}`;
  if (best.shared > 1) return `${lead} is as high at ${best.shared} of ${arms[lead].length} values of ${word}: ${figure}.`;
  const said = `${lead} is highest at ${word} ${top[0]}: ${figure}`;
  const there = envelope.find((e) => e.x === top[0]);
  if (!there) return `${said}.`;
  return `${said}; the best null search there reaches ${there.high.toFixed(1)} % (${text(there.best, "arm")}).`;
}

/* Lowest to highest null arm: a band where it is the same arms throughout, else a bar at each value. */
function band(envelope, names, at) {
  const grey = theme().palette[GREY];
  const common = { type: "scatter", x: envelope.map((e) => at(e.x)) };
  return [
    { ...common, mode: "lines", y: envelope.map((e) => e.low), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    {
      ...common,
      mode: "lines+markers",
      name: "best null search",
      y: envelope.map((e) => e.high),
      fill: "tonexty",
      fillcolor: hexFade(grey, 0.2),
      line: { width: 1.6, dash: "dash", color: grey },
      marker: { size: 6, symbol: "diamond", color: grey },
      text: names,
      customdata: envelope.map((e) => text(e.best, "cell")),
      hovertemplate: "%{text}<extra></extra>",
    },
  ];
}

function bars(envelope, names, at) {
  const grey = theme().palette[GREY];
  return [
    {
      type: "scatter",
      mode: "markers",
      name: "null arms, lowest to highest",
      x: envelope.map((e) => at(e.x)),
      y: envelope.map((e) => e.high),
      error_y: {
        type: "data",
        symmetric: false,
        array: envelope.map(() => 0),
        arrayminus: envelope.map((e) => e.high - e.low),
        color: hexFade(grey, 0.6),
        thickness: 5,
        width: 0,
      },
      marker: { size: 7, symbol: "diamond", color: grey },
      text: names,
      customdata: envelope.map((e) => text(e.best, "cell")),
      hovertemplate: "%{text}<extra></extra>",
    },
  ];
}

function curves(arms, envelope, value, rows, width) {
  const look = theme();
  const all = ordered(
    new Set([
      ...Object.values(arms)
        .flat()
        .map(([x]) => x),
      ...envelope.map((e) => e.x),
    ]),
  );
  const numeric = all.every((x) => known(Number(x)));
  const at = (x) => (numeric ? Number(x) : x);
  const log = numeric && Number(all[0]) > 0 && Number(all[all.length - 1]) / Number(all[0]) > 8;
  const traces = [];
  if (envelope.length) {
    const names = envelope.map(
      (e) => `<b>best null search</b><br>${about(e.best)}<br>lowest ${e.low.toFixed(1)}, ${counted(e.n, "null arm")}`,
    );
    traces.push(...(joinable(envelope) ? band : bars)(envelope, names, at));
  }
  const order = Object.keys(arms).sort(
    (a, b) => b.startsWith("l2v") - a.startsWith("l2v") || a.localeCompare(b, "en", { numeric: true }),
  );
  order.forEach((arm, i) => {
    const line = arms[arm].filter(([, row]) => known(num(row, value.key)));
    const { colour, symbol, dash } = lookOf(arm);
    const bounds = BOUNDS[value.key];
    const hidden = i >= MOST_CURVES ? "legendonly" : true;
    if (bounds && line.every(([, row]) => known(num(row, bounds[0]))) && line.length > 1) {
      traces.push({
        type: "scatter",
        mode: "lines",
        legendgroup: arm,
        visible: hidden,
        hoverinfo: "skip",
        showlegend: false,
        fill: "toself",
        fillcolor: hexFade(colour, 0.11),
        line: { width: 0 },
        x: [...line.map(([x]) => at(x)), ...line.map(([x]) => at(x)).reverse()],
        y: [...line.map(([, row]) => 100 * num(row, bounds[1])), ...line.map(([, row]) => 100 * num(row, bounds[0])).reverse()],
      });
    }
    traces.push({
      type: "scatter",
      mode: "lines+markers",
      name: plain(shortened(arm, 40)),
      legendgroup: arm,
      visible: hidden,
      x: line.map(([x]) => at(x)),
      y: line.map(([, row]) => value.scale * num(row, value.key)),
      text: line.map(([, row]) => about(row)),
      customdata: line.map(([, row]) => text(row, "cell")),
      hovertemplate: "%{text}<extra></extra>",
      line: { width: 2, color: colour, dash },
      marker: { size: 8, symbol, color: colour },
    });
  });
  const base = rows.find(
    (row) => text(row, "items") === state.items && text(row, "role") === "baseline" && known(num(row, value.key)),
  );
  const shapes = value.diverging ? [zeroLine("y")] : [];
  if (base && value.key !== "diff") {
    const y = value.scale * num(base, value.key);
    shapes.push({
      type: "line",
      xref: "paper",
      x0: 0,
      x1: 1,
      y0: y,
      y1: y,
      line: { color: look.ink, width: 1.2, dash: "dot" },
    });
    traces.push({
      type: "scatter",
      mode: "lines",
      name: `direct ${y.toFixed(1)}`,
      x: [null],
      y: [null],
      line: { color: look.ink, width: 1.2, dash: "dot" },
    });
  }
  return {
    traces,
    height: width < 620 ? 500 : 440,
    layout: {
      shapes,
      legend: { orientation: "h", y: width < 620 ? -0.26 : -0.2 },
      margin: { l: 54, r: 12, t: 32, b: 50 },
      xaxis: {
        title: { text: ALONG[curveState.along] },
        type: numeric ? (log ? "log" : "linear") : "category",
        ...(all.length <= 12 ? { tickvals: all.map(at), ticktext: all.map(plain) } : {}),
      },
      yaxis: { title: { text: plain(value.word()) }, ...(value.diverging ? { rangemode: "tozero" } : {}) },
    },
  };
}

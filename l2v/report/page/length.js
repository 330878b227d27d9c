const [NULLS, OTHERS, MOST_NAMED] = ["null arms", "other arms", 24];
const groupOf = (row, names) => {
  if (text(row, "role") === "null") return NULLS;
  return names.indexOf(text(row, "arm")) < MOST_NAMED ? text(row, "arm") : OTHERS;
};

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
      `${basis(here)}, ${state.items}; ${counted(here.length, "cell")}, a point each, reported ones larger` +
      `${inGrey(here, "; ")}. A method that only makes answers longer moves to the right, not up.`,
    numbers: { columns: cellColumns(here), rows: here, label: "Length and accuracy" },
    build: (width) => {
      const look = theme();
      const names = distinct(
        here.filter((row) => text(row, "role") !== "null"),
        "arm",
      );
      const traces = [
        ...(here.some((row) => text(row, "role") === "null") ? [NULLS] : []),
        ...names.slice(0, MOST_NAMED),
        ...(names.length > MOST_NAMED ? [OTHERS] : []),
      ].map((group) => {
        const points = here.filter((row) => groupOf(row, names) === group);
        const style = lookOf(group, group === NULLS ? "null" : text(points[0], "role"));
        return {
          type: "scatter",
          mode: "markers",
          name: plain(shortened(group, 40)),
          x: points.map((row) => num(row, "tokens")),
          y: points.map((row) => 100 * num(row, "value")),
          text: points.map(about),
          customdata: points.map((row) => text(row, "cell")),
          hovertemplate: "%{text}<extra></extra>",
          marker: {
            color: hexFade(style.colour, 0.78),
            symbol: style.symbol,
            size: points.map((row) => (text(row, "told") || text(row, "chosen") ? 12 : 7)),
            // A hollow sign is nothing but its line.
            line: style.symbol.endsWith("-open") ? { width: 1.4 } : { width: 0.8, color: look.raised },
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

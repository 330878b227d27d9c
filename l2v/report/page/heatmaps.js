/* The grid's picture: a heat map per panel, with its number in every cell that has room for it. */
const HEAT = { top: 54, under: 40, left: 52, right: 12, between: 44, line: 14, sheet: 860 };

/* How many panels stand side by side, how large they are, and their titles in lines. */
function placed(shown, xs, ys, width) {
  const [mostX, mostY] = [xs, ys].map((all) => Math.max(...all.map((one) => one.length)));
  const least = Math.max(width < 620 || paper.on ? 138 : 205, 30 * mostX + 40);
  const across = Math.max(1, Math.min(shown.length, Math.floor((width - 60) / least)));
  const innerX = width - HEAT.left - HEAT.right;
  const wide = (innerX - HEAT.between * (across - 1)) / across;
  const titles = shown.map(({ arm, after }) =>
    wrapped(
      after ? `${arm} ·\u00a0${after.replace(/ (?=\d)/g, "\u00a0")}` : arm,
      Math.max(10, Math.floor((wide + HEAT.right) / 6.1)),
    ).map((line) => line.replaceAll("\u00a0", " ")),
  );
  const lines = Math.max(...titles.map((title) => title.length));
  const gap = HEAT.between + 6 + HEAT.line * lines;
  const down = Math.ceil(shown.length / across);
  const top = HEAT.top + HEAT.line * lines;
  // A figure is cut by the end of a sheet of paper, not of a screen.
  const most = paper.on ? Math.max(34, (HEAT.sheet - top - HEAT.under - (down - 1) * gap) / down) : 480;
  const tall = Math.min(most, Math.max(mostY > 1 ? 78 : 44, mostY > 12 ? 20 * mostY : 36 * mostY));
  const height = top + HEAT.under + down * tall + (down - 1) * gap;
  return { across, innerX, wide, titles, tall, gap, top, height, inner: height - top - HEAT.under };
}

function heatmaps(shown, value, width) {
  const look = theme();
  const xs = shown.map((panel) => ordered(new Set(panel.rows.map((row) => text(row, panel.axes[0])))));
  const ys = shown.map((panel) => ordered(new Set(panel.rows.map((row) => text(row, panel.axes[1])))));
  const place = placed(shown, xs, ys, width);
  const figures = shown.flatMap((panel) => panel.rows.map((row) => value.scale * num(row, value.key))).filter(known);
  const layout = {
    margin: { l: HEAT.left, r: HEAT.right, t: place.top, b: HEAT.under },
    annotations: [],
    showlegend: false,
    coloraxis: colourAxis(value, figures, place),
  };
  const traces = shown.flatMap((panel, i) => {
    const name = i ? String(i + 1) : "";
    const [column, row] = [i % place.across, Math.floor(i / place.across)];
    const left = (column * (place.wide + HEAT.between)) / place.innerX;
    const ceiling = 1 - (row * (place.tall + place.gap)) / place.inner;
    const bottom = i + place.across >= shown.length || shown[i + place.across].axes[0] !== panel.axes[0];
    const side = column === 0 || shown[i - 1].axes[1] !== panel.axes[1];
    layout[`xaxis${name}`] = {
      ...categories(xs[i], bottom && wordOf(panel.axes[0])),
      domain: [left, Math.min(1, left + place.wide / place.innerX)],
      anchor: `y${name}`,
    };
    layout[`yaxis${name}`] = {
      ...categories(ys[i], side && ys[i].some((y) => y !== "") && wordOf(panel.axes[1])),
      domain: [Math.max(0, ceiling - place.tall / place.inner), ceiling],
      anchor: `x${name}`,
    };
    layout.annotations.push(heading(place.titles[i], left, ceiling));
    const map = heatmap(panel, xs[i], ys[i], value, name, place);
    return [map, figuresOn(map, layout.coloraxis), ...rings(panel, name, place.wide / xs[i].length, look)];
  });
  return { traces, layout, height: place.height };
}

const categories = (values, title) => ({
  type: "category",
  range: [-0.5, values.length - 0.5],
  showgrid: false,
  tickfont: { size: 10 },
  ticks: "",
  automargin: false,
  title: title ? { text: title, font: { size: 11 }, standoff: 4 } : undefined,
});

const heading = (lines, x, y) => ({
  text: lines.map(plain).join("<br>"),
  xref: "paper",
  yref: "paper",
  x,
  y,
  xanchor: "left",
  yanchor: "bottom",
  align: "left",
  yshift: 3,
  showarrow: false,
  font: { size: 11.5 },
});

function colourAxis(value, figures, place) {
  const look = theme();
  const reach = Math.max(1e-9, ...figures.map(Math.abs));
  const [low, high] = value.diverging ? [-reach, reach] : [Math.min(...figures), Math.max(...figures)];
  return {
    colorscale: value.diverging ? look.diverging : look.sequential,
    cmin: low,
    cmax: high === low ? low + 1 : high,
    colorbar: {
      orientation: "h",
      thickness: 9,
      len: Math.min(0.6, 240 / place.innerX),
      x: 0,
      xanchor: "left",
      y: 1,
      yanchor: "bottom",
      yref: "paper",
      ypad: place.top - 36,
      xpad: 0,
      outlinewidth: 0,
      tickfont: { size: 10 },
      title: { text: "" },
    },
  };
}

/* Of several cells at one place the best by score. */
function heatmap(panel, xs, ys, value, name, place) {
  const grid = ys.map(() => xs.map(() => null));
  for (const row of panel.rows) {
    const [x, y] = [xs.indexOf(text(row, panel.axes[0])), ys.indexOf(text(row, panel.axes[1]))];
    if (!grid[y][x] || num(row, "value") > num(grid[y][x], "value")) grid[y][x] = row;
  }
  const number = (row) => (row && known(num(row, value.key)) ? value.scale * num(row, value.key) : null);
  const words = (row) => {
    const v = number(row);
    return v === null ? "" : signed(v, Math.abs(v) >= 99.95 ? 0 : 1);
  };
  const written = grid.map((line) => line.map(words));
  const longest = Math.max(...written.flat().map((one) => one.length));
  const fits = place.wide / xs.length > 6 + 6.2 * longest && place.tall / ys.length > 13;
  return {
    type: "heatmap",
    x: xs,
    y: ys,
    z: grid.map((line) => line.map(number)),
    coloraxis: "coloraxis",
    xaxis: `x${name}`,
    yaxis: `y${name}`,
    xgap: 1.5,
    ygap: 1.5,
    hoverongaps: false,
    text: fits ? written : [],
    customdata: grid.map((line) => line.map((row) => (row ? [about(row), text(row, "cell")] : ["", ""]))),
    hovertemplate: "%{customdata[0]}<extra></extra>",
  };
}

/* A heat map's numbers, black or white, whichever stands out more from what is below. */
function figuresOn({ x, y, z, text: written, xaxis, yaxis }, { colorscale, cmin, cmax }) {
  const places = written.flatMap((line, j) => line.map((words, i) => ({ words, x: x[i], y: y[j], z: z[j][i] })));
  const shown = places.filter(({ words }) => words);
  return {
    type: "scatter",
    mode: "text",
    x: shown.map((one) => one.x),
    y: shown.map((one) => one.y),
    text: shown.map(({ words }) => words),
    textfont: { size: 10.5, color: shown.map((one) => inkOn(colorscale, (one.z - cmin) / (cmax - cmin))) },
    xaxis,
    yaxis,
    hoverinfo: "skip",
  };
}

function inkOn(scale, share) {
  const after = Math.max(
    1,
    scale.findIndex(([stop]) => stop >= share - 1e-9),
  );
  const [[from, dark], [to, light]] = [scale[after - 1], scale[after]];
  const part = (share - from) / (to - from);
  const [r, g, b] = [1, 3, 5].map((i) => {
    const [one, other] = [dark, light].map((colour) => parseInt(colour.slice(i, i + 2), 16) / 255);
    const level = one + part * (other - one);
    return level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4;
  });
  // Where black and white are equally far (WCAG's relative luminance): each has a contrast of 4.6 there.
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

/* The chosen cells: ink with a rim of paper, so that one of the two stands out from any colour. */
function rings(panel, name, room, look) {
  const circles = panel.rows.filter((row) => text(row, "chosen"));
  const size = Math.max(11, Math.min(32, room - 4));
  const ring = (color, width) => ({
    type: "scatter",
    mode: "markers",
    x: circles.map((row) => text(row, panel.axes[0])),
    y: circles.map((row) => text(row, panel.axes[1])),
    xaxis: `x${name}`,
    yaxis: `y${name}`,
    hoverinfo: "skip",
    marker: { symbol: "circle-open", size, color, line: { width, color } },
  });
  return circles.length ? [ring(look.paper, 4.5), ring(look.ink, 1.8)] : [];
}

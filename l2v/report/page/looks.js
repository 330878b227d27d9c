/* Colours follow the reader's system, the button, and paper, which is always light. */
const paper = { on: false };
function scheme() {
  const chosen = document.documentElement.dataset.scheme;
  return !paper.on && (chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches) ? "dark" : "light";
}
function theme() {
  const dark = scheme() === "dark";
  return {
    ...DATA.style[scheme()],
    ink: dark ? "#e9e6df" : "#1e1e1c",
    soft: dark ? "#a5a29a" : "#5f5d57",
    hair: dark ? "#2b2e34" : "#e9e5da",
    raised: dark ? "#1d2025" : "#ffffff",
    paper: dark ? "#16181c" : paper.on ? "#ffffff" : "#fcfbf8",
  };
}
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x", "hexagon", "hourglass"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const [GREY, INK, COLOURS] = [6, 7, 6];

/* Every arm's colour and sign, the same in every figure: the colour is fixed for the usual methods, and the least used one for
   the rest, which come after them, so that no arm takes another's while one is free; no two arms share both. */
function looksOf(arms) {
  const preference = (name) => DATA.style.arms[name.split(" ")[0]];
  const names = [...new Set(arms)].sort((a, b) => (preference(a) === undefined) - (preference(b) === undefined));
  const [found, taken, used] = [new Map(), new Set(), new Array(8).fill(0)];
  for (const name of names) {
    const free = Math.min(...used.slice(0, COLOURS));
    const colour = preference(name) ?? used.slice(0, COLOURS).indexOf(free);
    const turn = SYMBOLS.map((_, j) => SYMBOLS[(found.size + j) % SYMBOLS.length]);
    const symbols = [...turn, ...turn.map((symbol) => `${symbol}-open`)];
    const symbol = symbols.find((one) => !taken.has(`${colour} ${one}`)) ?? symbols[0];
    taken.add(`${colour} ${symbol}`);
    found.set(name, { colour, symbol, dash: DASHES[used[colour]++ % DASHES.length] });
  }
  return found;
}

/* Null arms, and arms that are told apart only along a curve, come last. */
const LOOKS = (() => {
  const arms = (wanted) => ROWS.filter((row) => (text(row, "role") === "null") === wanted).map((row) => text(row, "arm"));
  const along = new Set(TABLES.flatMap((table) => Object.keys(table.raw).filter((name) => name.startsWith("arm~"))));
  return looksOf([...arms(false), ...arms(true), ...[...along].flatMap((name) => distinct(ROWS, name))]);
})();

/* How an arm is drawn; null arms in grey, with a hollow sign. */
function lookOf(arm, role = "") {
  const { palette } = theme();
  const { colour, symbol, dash } = LOOKS.get(arm) || { colour: GREY, symbol: "circle", dash: "solid" };
  if (role === "null") return { colour: palette[GREY], symbol: "diamond-open", dash: "dash" };
  return { colour: palette[role === "baseline" ? INK : colour], symbol, dash };
}

function hexFade(colour, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

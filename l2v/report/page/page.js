/* How a figure is put on the page, and how the page begins. */
const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
const drawn = new Map();

/* A figure is drawn when it comes near to what one sees, and from then on at once whenever it changes: of a study of thousands
   of cells the browser else works for seconds on what nobody looks at yet. */
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) paint(target.id.slice("plot-".length));
}, AHEAD);
/* The rest is drawn one by one while the browser has nothing else to do: a picture of the whole page then holds it. */
const AFTER = 1500; // milliseconds
const idly = (work) => (window.requestIdleCallback ? requestIdleCallback(work) : setTimeout(work, 50));
function drawRest(ids) {
  const id = ids.shift();
  if (!id) {
    cardsInTime();
    return setTimeout(letGo, 500);
  }
  if (!isDrawn(id)) paint(id);
  idly(() => drawRest(ids));
}
const isDrawn = (id) => $(`plot-${id}`).childElementCount > 0;
const drawInTime = (id) => (isDrawn(id) || paper.on ? paint(id) : near.observe($(`plot-${id}`)));

function layoutFor(div, layout, height, automargin = true) {
  const look = theme();
  const axis = { gridcolor: look.hair, zerolinecolor: look.soft, linecolor: look.hair, tickcolor: look.hair, automargin };
  const full = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    height,
    width: div.clientWidth || 640,
    margin: { l: 50, r: 14, t: 18, b: 46 },
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: look.ink },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: look.soft, activecolor: look.ink },
    hoverlabel: { bgcolor: look.raised, bordercolor: look.soft, font: { color: look.ink, size: 12 }, align: "left" },
    ...layout,
  };
  for (const name of Object.keys(full)) {
    if (/^[xy]axis\d*$/.test(name)) full[name] = { ...axis, ...full[name] };
  }
  if (!full.xaxis) full.xaxis = { ...axis };
  if (!full.yaxis) full.yaxis = { ...axis };
  return full;
}

/* Put a figure on the page: what one sees, the picture, what it is drawn from, and its numbers as a table. */
function show(id, figure) {
  $(`controls-${id}`).hidden = false;
  $(`sees-${id}`).textContent = figure.sees || "";
  $(`sees-${id}`).classList.remove("why");
  $(`caption-${id}`).textContent = figure.caption;
  const div = $(`plot-${id}`);
  div.setAttribute("role", "img");
  div.setAttribute("aria-label", `${figure.sees || ""} ${figure.caption} The numbers follow as a table.`);
  drawn.set(id, figure);
  div.classList.add("awaited");
  if (document.documentElement.dataset.state) drawInTime(id);
  const numbers = $(`numbers-${id}`);
  numbers.hidden = false;
  numbers.replaceChildren(numbers.firstElementChild);
  numbers.ontoggle = () => {
    if (numbers.open && numbers.childElementCount === 1) {
      numbers.append(dataTable({ ...figure.numbers, most: SHOWN_NUMBERS, file: `${state.study}-${id}.csv` }));
    }
  };
  if (numbers.open) numbers.ontoggle();
}

function paint(id) {
  const figure = drawn.get(id);
  const div = $(`plot-${id}`);
  near.unobserve(div);
  div.classList.remove("awaited");
  if (figure?.draw) return figure.draw(div);
  if (!figure || !window.Plotly) return;
  const { traces, layout, height } = figure.build(div.clientWidth || 640);
  Plotly.react(div, traces, layoutFor(div, layout, height), CONFIG);
  div.removeAllListeners("plotly_click");
  div.on("plotly_click", ({ points }) => openCell(cellOf(points[0])));
}

/* A point's cell: the last of what it carries. */
const cellOf = ({ customdata }) => (Array.isArray(customdata) ? customdata[customdata.length - 1] : customdata);

/* No picture, and in one line why; where no arm was run at all, no section either. */
function missing(id, why, keep = false) {
  drawn.delete(id);
  if (ROWS.every((row) => text(row, "role") === "baseline"))
    for (const part of [$(id), document.querySelector(`.bar a[href="#${id}"]`)?.parentElement]) if (part) part.hidden = true;
  const items = $(`${id}-items`);
  $(`controls-${id}`).hidden = !keep && !(items && items.options.length > 1);
  $(`sees-${id}`).textContent = why;
  $(`sees-${id}`).classList.add("why");
  $(`caption-${id}`).textContent = "";
  $(`numbers-${id}`).hidden = true;
  const div = $(`plot-${id}`);
  near.unobserve(div);
  div.classList.remove("awaited");
  div.removeAttribute("role");
  div.removeAttribute("aria-label");
  if (window.Plotly) Plotly.purge(div);
  div.replaceChildren();
}

const SECTIONS = [];
function update() {
  if (!ROWS.length) return;
  const rows = resolve();
  for (const section of SECTIONS) section(rows);
}

/* The figures' library travels packed; the page's policy knows the hash of what comes out. */
async function unpack() {
  const signs = atob($("plotly").textContent);
  const bytes = new Uint8Array(signs.length);
  for (let i = 0; i < signs.length; i++) bytes[i] = signs.charCodeAt(i); // ten times as fast as Uint8Array.from with a function
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(Object.assign(document.createElement("script"), { textContent: await new Response(stream).text() }));
  if (!window.Plotly) throw new Error("the figures' library did not start");
}

function repaint() {
  for (const id of drawn.keys()) if (isDrawn(id)) paint(id);
}

function schemeButton() {
  const order = ["", "light", "dark"];
  const words = { "": "as the system", light: "light", dark: "dark" };
  $("scheme").addEventListener("click", () => {
    const root = document.documentElement;
    const next = order[(order.indexOf(root.dataset.scheme || "") + 1) % 3];
    if (next) root.dataset.scheme = next;
    else delete root.dataset.scheme;
    $("scheme").setAttribute("aria-label", `Colours: ${words[next]}`);
    $("scheme").title = `Colours: ${words[next]}`;
    if (window.Plotly) update();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.Plotly && update());
}

function watchSections() {
  const links = new Map([...document.querySelectorAll(".bar a")].map((a) => [a.getAttribute("href").slice(1), a]));
  const there = new Set();
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) there[isIntersecting ? "add" : "delete"](target.id);
      const last = [...links.keys()].filter((id) => there.has(id)).pop();
      for (const [id, link] of links) link.setAttribute("aria-current", String(id === last));
    },
    { rootMargin: "-15% 0px -75% 0px" },
  );
  for (const id of links.keys()) if ($(id)) seen.observe($(id));
}

function onPaper(on) {
  paper.on = on;
  document.documentElement.style.width = on ? "690px" : "";
  for (const fold of document.querySelectorAll("details:not(.numbers)")) {
    if (on && !fold.open) fold.dataset.shut = "yes";
    if (on || fold.dataset.shut) fold.open = on;
    if (!on) delete fold.dataset.shut;
  }
  if (window.Plotly && ROWS.length) update();
}

async function begin() {
  const library = unpack(); // its packing is undone beside what follows
  schemeButton();
  watchSections();
  for (const button of document.querySelectorAll("button[data-lat]")) {
    const [i, j] = button.dataset.lat.split("-").map(Number);
    const figure = DATA.lat[i][j];
    button.addEventListener("click", () => download(figure.file || "figure.csv", figure.csv));
  }
  update();
  beginExamples();
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  let width = innerWidth;
  let waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width || paper.on) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(repaint, 150);
  });
  try {
    await library;
  } catch (error) {
    for (const id of drawn.keys())
      $(`caption-${id}`).textContent = "This browser is too old to draw the figures; their numbers are below.";
    console.warn(String(error));
  }
  followAddress();
  followStudy();
  document.documentElement.dataset.state = "ready";
  for (const id of drawn.keys()) drawInTime(id);
  setTimeout(() => idly(() => drawRest([...drawn.keys()])), AFTER);
}
addEventListener("DOMContentLoaded", begin);

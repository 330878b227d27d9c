/* The table of cells. */
const [sortedBy, sortedDown] = (WANTED.get("table-sort") || "").split(/:(?=[a-z]+$)/);
const tableState = { which: view.filter ? "all" : "reported", sorting: { by: sortedBy, down: sortedDown === "descending" } };
filtered((rows) => {
  const reported = rows.filter((row) => text(row, "told"));
  const options = reported.length && reported.length < rows.length ? ["reported", "all"] : ["all"];
  if (!options.includes(tableState.which)) tableState.which = options[0];
  select(
    "table",
    "which",
    "Cells",
    options,
    (v) => (v === "all" ? `all ${rows.length}` : `reported, ${reported.length}`),
    tableState,
  );
  if (!$("save-all")) {
    for (const table of TABLES) {
      const name = TABLES.length > 1 ? `All results of ${table.study} as CSV` : "All results as CSV";
      $("controls-table").append(
        el(
          "button",
          {
            type: "button",
            id: table === TABLES[0] ? "save-all" : "save-all-second",
            click: () => download(`${table.study}-results.csv`, allRows(table)),
          },
          name,
        ),
      );
    }
  }
  const shown = kept(tableState.which === "all" ? rows : reported);
  filterField(shown);
  $("cells").replaceChildren(
    dataTable({
      columns: cellColumns(shown),
      rows: shown,
      most: 100,
      file: `${state.study}-table.csv`,
      label: "Table of cells",
      sorting: tableState.sorting,
    }),
  );
});

/* The conditions above the table, made once. */
function filterField(shown) {
  const id = "table-filter";
  if (!$(id)) {
    const typed = (event) => setFilter(event.target.value);
    const field = el("input", { type: "search", id, placeholder: "layer=3, alpha>0.4", autocomplete: "off", input: typed });
    const label = el("label", { class: "field search", for: id }, el("span", {}, "Filter"), field);
    $("controls-table").append(label, el("p", { id: "filter-said", class: "on", role: "status" }));
  }
  if (document.activeElement !== $(id)) $(id).value = view.filter;
  const { wrong } = conditions(view.filter);
  $("filter-said").textContent = wrong.length
    ? `Not understood: ${wrong.join(", ")}. For example layer=3, alpha>0.4, method=l2v`
    : view.filter && !shown.length
      ? `No cell has ${view.filter}.`
      : "";
}

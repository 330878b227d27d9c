/* The table of cells. */
const tableState = { which: "reported" };
SECTIONS.push((rows) => {
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
  const shown = tableState.which === "all" ? rows : reported;
  $("cells").replaceChildren(
    dataTable({
      columns: cellColumns(shown),
      rows: shown,
      most: 100,
      file: `${state.study}-table.csv`,
      label: "Table of cells",
    }),
  );
});

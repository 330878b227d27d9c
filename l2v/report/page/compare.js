/* Two studies: the paired difference of cells with the same settings. */
if ($("fig-compare")) {
  SECTIONS.push(() => {
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
    const lines = paired.slice(0, 60);
    const several = new Set(lines.map((p) => `${p.bench}, ${p.items}`)).size > 1;
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
        `Target ${[...new Set(lines.map((p) => p.where))].join(", ")}. Scorer ${DATA.scorer}; ${second} minus ` +
        `${first} on the items that both answered, 95 % paired bootstrap interval, ${span(lines.map((p) => p.n))}` +
        (all.length > lines.length ? `; ${lines.length} of ${all.length} pairs drawn, all are in the numbers` : "") +
        ".",
      build: (width) =>
        forest(
          lines.map((p) => ({
            name: [p.arm, p.settings, distinct(ROWS, "where").length > 1 ? p.where : "", several ? `n = ${p.n}` : ""]
              .filter(Boolean)
              .join(", "),
            ...lookOf(p.arm, rowOf(p.first) ? text(rowOf(p.first), "role") : ""),
            cell: p.first,
            x: 100 * p.diff,
            low: 100 * p.low,
            high: 100 * p.high,
            hover: [
              `<b>${plain(p.arm)}</b>`,
              plain([p.settings, `${p.bench}, ${p.items}`].filter(Boolean).join("; ")),
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

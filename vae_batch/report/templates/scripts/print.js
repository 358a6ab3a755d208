// On paper nothing is folded away, and tables too wide for it go on below.
{
  const MOST = 6; // columns beside those that name the checkpoint
  const opened = [];
  const parts = [];

  // Columns `from` to `to` of every row, after those that name it.
  const partOf = (table, named, from, to) => {
    const part = table.cloneNode(true);
    for (const row of part.rows) {
      const cells = cellsOf(row);
      const kept = cells.filter((_, column) => column < named || (column >= from && column < to));
      row.replaceChildren(...new Set(kept));
      for (const cell of row.cells) cell.colSpan = kept.filter((each) => each === cell).length;
    }
    return part;
  };
  const divide = (table) => {
    const named = table.querySelector("th[data-key='step']") ? 2 : 1;
    const columns = cellsOf(table.tHead.rows[table.tHead.rows.length - 1]).length - named;
    if (columns <= MOST) return;
    const each = Math.ceil(columns / Math.ceil(columns / MOST));
    for (let from = named; from < named + columns; from += each) {
      const part = partOf(table, named, from, Math.min(from + each, named + columns));
      part.classList.add("part");
      table.before(part);
      parts.push(part);
    }
    table.classList.add("divided");
  };

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      if (details.closest("#store:not([hidden])") || !details.closest("#store")) opened.push(details);
    }
    for (const details of opened) details.open = true;
    for (const table of document.querySelectorAll("table.scores")) divide(table);
  });
  addEventListener("afterprint", () => {
    for (const details of opened.splice(0)) details.open = false;
    for (const part of parts.splice(0)) part.remove();
    for (const table of document.querySelectorAll("table.divided")) table.classList.remove("divided");
  });
}

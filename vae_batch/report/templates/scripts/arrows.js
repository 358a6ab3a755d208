// Tables and charts are one stop of the Tab key each; arrow keys move among what they hold.
{
  const STOPS = "[data-stop], a";
  const shown = (element) => element.getClientRects().length > 0;
  const rowsOf = (holder) => {
    const rows = holder.matches("table") ? [...holder.rows] : [holder];
    return rows.map((row) => [...row.querySelectorAll(STOPS)].filter(shown)).filter((row) => row.length);
  };
  const move = (rows, from, key) => {
    const y = rows.findIndex((row) => row.includes(from));
    const x = rows[y].indexOf(from);
    const across = rows.length === 1;
    if (key === "Home") return rows[y][0];
    if (key === "End") return rows[y].at(-1);
    if (key === "ArrowRight" || (across && key === "ArrowDown")) return rows[y][x + 1];
    if (key === "ArrowLeft" || (across && key === "ArrowUp")) return rows[y][x - 1];
    const row = rows[y + (key === "ArrowDown" ? 1 : -1)];
    return row && row[Math.min(x, row.length - 1)];
  };

  window.prepareArrows = (holder) => {
    const stops = [...holder.querySelectorAll(STOPS)];
    for (const stop of stops) if (stop.matches("a, button")) stop.tabIndex = -1;
    if (stops.length) stops[0].setAttribute("tabindex", "0");
  };

  document.addEventListener("keydown", (event) => {
    if (!/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(event.key)) return;
    const from = event.target.closest?.(STOPS);
    const holder = from?.closest("[data-arrows]");
    if (!holder || event.target.matches("input, select")) return;
    event.preventDefault();
    const to = move(rowsOf(holder), from, event.key);
    if (!to) return;
    for (const stop of holder.querySelectorAll('[tabindex="0"]')) stop.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  });
}

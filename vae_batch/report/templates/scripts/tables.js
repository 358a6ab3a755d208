// Of several tables one is chosen to be shown; headings sort; words filter; tables become CSV.
{
  const choose = (holder) => {
    const choices = [...holder.querySelectorAll(":scope > .choice")];
    if (choices.length < 2) return;
    const select = document.createElement("select");
    for (const choice of choices) select.add(new Option(choice.querySelector("summary").textContent));
    const show = () => choices.forEach((choice, index) => {
      choice.classList.add("chosen");
      choice.open = index === select.selectedIndex;
      choice.hidden = !choice.open;
    });
    const label = document.createElement("label");
    label.append(`${holder.dataset.choose} `, select);
    const bar = document.getElementById(holder.dataset.bar) ?? document.createElement("div");
    bar.className = "toolbar";
    bar.prepend(label);
    if (!holder.dataset.bar) holder.prepend(bar);
    select.addEventListener("change", show);
    show();
  };
  for (const holder of document.querySelectorAll("[data-choose]")) choose(holder);

  // The cell in each column of a row; one that spans several stands in all of them.
  const spanOf = (cell) => Number(cell.dataset.span ?? cell.colSpan);
  window.cellsOf = (row) => [...row.cells].flatMap((cell) => Array(spanOf(cell)).fill(cell));
  const headsOf = (table) => cellsOf(table.tHead.rows[table.tHead.rows.length - 1]);
  const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));

  const sort = (head) => {
    const table = head.closest("table");
    const column = headsOf(table).indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keys = new Map();
    for (const row of table.tBodies[0].rows) {
      const cell = cellsOf(row)[column];
      const missing = !cell || cell.matches(".failure") || (spanOf(cell) > 1 && !cell.dataset.sort);
      keys.set(row, missing ? "" : cell.dataset.sort ?? cell.textContent.trim());
    }
    const numeric = [...keys.values()].every((key) => key === "" || isNumber(key));
    const compare = (a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numeric ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };

  // Spreadsheets run what begins with these signs as a formula, unless it is a number.
  const defused = (text) => (/^[=+\-@\t\r]/.test(text) && !isNumber(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const wordsOf = (element) => {
    const copy = element.cloneNode(true);
    for (const sign of copy.querySelectorAll("[aria-hidden], .unseen")) sign.remove();
    return copy.textContent.replaceAll(/\s+/g, " ").trim();
  };
  const csvOf = (table) => {
    const columns = headsOf(table).map((head) => ({
      names: head.hidden ? [] : (head.dataset.csv ?? wordsOf(head)).split("\n").filter(Boolean),
    }));
    const lineOf = (row) => cellsOf(row).flatMap((cell, column, cells) => {
      const { names } = columns[column];
      const values = cells[column - 1] === cell ? []
        : [cell.dataset.sort ?? wordsOf(cell), ...(cell.dataset.more ?? "").split("\n")];
      return names.map((_, index) => values[index] ?? "");
    });
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const lines = [columns.flatMap((column) => column.names), ...rows.map(lineOf)];
    return lines.map((line) => `${line.map((text) => quoted(defused(text))).join(",")}\r\n`).join("");
  };
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy"); // pages served without TLS have no other way
    area.remove();
  };
  window.save = (blob, name) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const nameOf = (table) => `${table.caption.textContent.split(/[.,]/)[0].replaceAll(/[^\p{L}\p{N}]+/gu, "-").toLowerCase()}.csv`;

  const button = (text, act) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    made.addEventListener("click", () => act(made));
    return made;
  };
  // Headings become buttons that sort, and below the table are buttons that export it.
  window.prepareTable = (table) => {
    for (const head of table.tHead.querySelectorAll("th[scope='col']")) {
      const inside = [...head.childNodes].filter((node) => !node.matches?.(".unit"));
      const made = button("", () => sort(head));
      made.append(...inside);
      for (const name of ["stop", "metric"]) {
        if (name in head.dataset) made.dataset[name] = head.dataset[name];
        delete head.dataset[name];
      }
      head.prepend(made);
    }
    const after = table.closest(".scroll");
    const bar = after.nextElementSibling?.matches(".tools") ? after.nextElementSibling
      : Object.assign(document.createElement("p"), { className: "tools" });
    if (!bar.isConnected) after.after(bar);
    const told = Object.assign(document.createElement("span"), { className: "told" });
    told.setAttribute("role", "status");
    bar.prepend(
      button("Copy CSV", async () => { await copy(csvOf(table)); told.textContent = "Copied"; }),
      button("Download CSV", () => save(new Blob(["\ufeff", csvOf(table)], { type: "text/csv" }), nameOf(table))),
      told,
    );
  };
  for (const table of document.querySelectorAll("table")) prepareTable(table);
  for (const holder of document.querySelectorAll("[data-arrows]")) prepareArrows(holder);

  const tables = [...document.querySelectorAll("table.scores")];

  // Where a table is wider than its box, the columns that matter least are shown on request.
  const MOST_ROWS = 100;
  const wide = document.querySelector("#wide input");
  const showAll = (table) => {
    for (const cell of table.querySelectorAll(".beyond")) cell.classList.remove("beyond");
    for (const cell of table.querySelectorAll("[data-span]")) {
      cell.colSpan = cell.dataset.span;
      delete cell.dataset.span;
    }
  };
  const hide = (table, column) => {
    for (const row of table.rows) {
      const cell = cellsOf(row)[column];
      if (!cell) continue;
      if (spanOf(cell) > 1) cell.dataset.span ??= cell.colSpan;
      if (cell.colSpan > 1) cell.colSpan -= 1;
      else cell.classList.add("beyond");
    }
  };
  const fit = (table) => {
    const box = table.closest(".scroll");
    if (!box.clientWidth) return; // of a table that is not shown
    showAll(table);
    box.classList.remove("fits");
    if (matchMedia("print").matches) return;
    const heads = headsOf(table);
    const rest = heads.filter((head) => head.dataset.place > 0 && !head.hidden && !head.hasAttribute("aria-sort"));
    rest.sort((a, b) => b.dataset.place - a.dataset.place);
    let left = 0;
    if (!wide.checked) {
      for (const head of rest) {
        if (box.scrollWidth <= box.clientWidth) break;
        hide(table, heads.indexOf(head));
        left += 1;
      }
    }
    // Then its rows need no box of their own, and its headings stay at the top of the window.
    const isShort = table.tBodies[0].rows.length <= MOST_ROWS;
    box.classList.toggle("fits", isShort && box.scrollWidth <= box.clientWidth);
    wide.nextElementSibling.textContent = left ? `All columns (${left} more)` : "All columns";
    wide.parentElement.hidden = !left && !wide.checked;
  };
  const widths = new Map();
  const boxes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const table = target.querySelector(".scores");
      if (widths.get(table) !== target.clientWidth) fit(table);
      widths.set(table, target.clientWidth);
    }
  });
  for (const table of tables) boxes.observe(table.closest(".scroll"));
  wide?.addEventListener("change", () => tables.forEach(fit));
  addEventListener("beforeprint", () => tables.forEach(showAll));
  addEventListener("afterprint", () => tables.forEach(fit));

  const filter = document.getElementById("filter");
  const apply = () => {
    const terms = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let [found, all] = [0, 0];
    for (const table of tables) {
      const heads = [...table.querySelectorAll("th[scope='colgroup']")];
      const named = (head, term) => head.textContent.toLowerCase().includes(term);
      const extractors = heads.filter((head) => head.dataset.group.startsWith("e"));
      const asked = terms.filter((term) => extractors.some((head) => named(head, term)));
      const rest = extractors.filter((head) => !asked.every((term) => named(head, term)));
      const away = new Set(rest.map((head) => head.dataset.group));
      for (const cell of table.querySelectorAll("[data-group^='e'], td[data-key^='e']")) {
        cell.hidden = away.has(cell.dataset.group ?? cell.dataset.key.split("-")[0]);
      }
      [found, all] = [0, table.tBodies[0].rows.length];
      fit(table); // columns of other extractors may have room now
      for (const row of table.tBodies[0].rows) {
        row.hidden = !terms.every((term) => row.dataset.words.includes(term));
        found += !row.hidden;
      }
    }
    document.getElementById("rows").textContent = `${found} of ${all} checkpoint${all === 1 ? "" : "s"}`;
  };
  if (tables.length) {
    document.getElementById("filters").hidden = false;
    filter.addEventListener("input", apply);
    apply();
  }
}

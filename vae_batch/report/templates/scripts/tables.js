// Of several tables one is chosen to be shown; headings sort; words filter rows and extractors.
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

  const sort = (head) => {
    const table = head.closest("table");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const text = head.dataset.kind === "text";
    const keys = new Map();
    for (const row of table.tBodies[0].rows) {
      keys.set(row, row.querySelector(`[data-key="${head.dataset.key}"]`)?.dataset.sort ?? "");
    }
    const compare = (a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = text ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return down ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };
  document.addEventListener("click", (event) => {
    const head = event.target.closest?.(".scores th[data-key]");
    if (head && event.target.closest("button")) sort(head);
  });

  const tables = [...document.querySelectorAll("table.scores")];
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

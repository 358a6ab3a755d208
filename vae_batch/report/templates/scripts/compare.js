// One checkpoint, or two side by side: what is stored of each, and their paired difference.
{
  const store = document.getElementById("store");
  const [numbers, panels] = [document.getElementById("numbers"), document.getElementById("panels")];
  const [pickA, pickB] = [document.getElementById("pick-a"), document.getElementById("pick-b")];
  const MINUS = "\u2212";

  const make = (tag, options = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), options);
    element.append(...children);
    return element;
  };
  const shortly = (value, plus) => {
    const text = Number(value.toPrecision(4)).toString().replace("-", MINUS);
    return plus && value > 0 ? `+${text}` : text;
  };
  const named = (id) => document.getElementById(id).dataset.name;
  const letter = (name) => make("span", { className: `letter ${name}` }, name.toUpperCase());
  const rowOf = (table, id) => table.querySelector(`tbody tr[data-checkpoint="${id}"]`);

  // Difference B less A with its interval and p, from whichever of the two stored it.
  const pairOf = (tables, a, b) => {
    const rows = (id) => tables.map((table) => rowOf(table, id)).find(Boolean);
    const [one, other] = [rows(a), rows(b)];
    const read = (words, sign) => {
      const [d, low, high, p] = words.split(" ").map((word) => (word === "" ? NaN : Number(word)));
      return sign > 0 ? { d, low, high, p } : { d: -d, low: -high, high: -low, p };
    };
    if (!one || !other) return null;
    if (one.matches(".best") && other.dataset.fromBest) return read(other.dataset.fromBest, 1);
    if (other.matches(".best") && one.dataset.fromBest) return read(one.dataset.fromBest, -1);
    if (other.dataset.previous === a) return read(other.dataset.fromPrevious, 1);
    if (one.dataset.previous === b) return read(one.dataset.fromPrevious, -1);
    return null;
  };
  const reading = (pair, better) => {
    if (!(pair.p <= 0.05)) return "";
    return (better === "higher") === (pair.d > 0) ? "b" : "a";
  };

  const paired = (pair, better, metric) => {
    if (!pair) return cell("not stored", { css: "faint", tip: "Paired differences are stored only against the best and against the previous checkpoint of the run." });
    const half = (pair.high - pair.low) / 2; // with two significant digits
    const places = half > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(half)))) : 4;
    const fixed = (value) => value.toFixed(places).replace("-", MINUS);
    const spread = `[${fixed(pair.low)}, ${fixed(pair.high)}]`;
    const result = cell((pair.d > 0 ? "+" : "") + fixed(pair.d), { spread, metric, tip: `B minus A, paired, 95 % interval ${spread}, p ${pair.p < 0.001 ? "< 0.001" : pair.p.toPrecision(2)} (Holm)` });
    const winner = reading(pair, better);
    const words = winner ? [letter(winner), " better"] : ["not distinguishable at 5 %"];
    result.append(make("span", { className: "reading" }, ...words));
    return result;
  };

  const cell = (text, { spread = "", tip = "", metric = "", css = "" } = {}) => {
    const element = make("td", { className: css }, make("span", { className: "number" }, text));
    element.dataset.stop = "";
    if (tip) element.dataset.tip = tip;
    if (metric) element.dataset.metric = metric;
    if (spread) element.append(" ", make("span", { className: "spread" }, spread));
    return element;
  };
  const heading = (text, scope, metric) => {
    const element = make("th", { scope }, text);
    if (metric) element.dataset.metric = metric;
    if (metric || scope === "col") element.dataset.stop = "";
    return element;
  };
  const table = (title, heads, lines) => {
    const caption = make("caption", { className: "unseen" }, title);
    const head = make("tr", {}, ...heads.map((text) => heading(text, "col")));
    const result = make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...lines));
    result.dataset.arrows = "";
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, result);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", title);
    const holder = make("div", {}, scroll);
    prepareTable(result);
    prepareArrows(result);
    return holder;
  };

  const rankings = () => [...document.querySelectorAll(".choice")]
    .map((choice) => [...choice.querySelectorAll("table.ranking")]).filter((tables) => tables.length);
  const pairedLines = (a, b) => rankings().map((tables) => {
    const { title, metric, better } = tables[0].dataset;
    const [one, other] = [a, b].map((id) => tables.map((each) => rowOf(each, id)).find(Boolean)?.cells[2]);
    if (!one || !other) return null;
    const value = (source) => cell(source.querySelector(".number").textContent, {
      spread: source.querySelector(".spread").textContent, tip: source.dataset.tip, metric });
    const pair = pairOf(tables, a, b);
    return make("tr", {}, heading(title, "row", metric), value(one), value(other), paired(pair, better, metric));
  }).filter(Boolean);

  const allLines = (ids) => [...document.querySelectorAll("table.scores")].flatMap((source) => {
    const titles = new Map([...source.querySelectorAll("th[scope='colgroup']")].map((head) => [head.dataset.group, head.textContent]));
    return [...source.querySelectorAll("th[data-group][data-key]")].map((head) => {
      const { key, group } = head.dataset;
      const found = ids.map((id) => rowOf(source, id)?.querySelector(`[data-key="${key}"]`));
      if (!found.some((each) => each?.dataset.sort)) return null;
      const metric = key.slice(key.indexOf("-") + 1);
      const name = head.querySelector("button").textContent.trim();
      const extractor = group.startsWith("e") ? ` (${titles.get(group)})` : "";
      const values = found.map((each) => cell(each?.querySelector(".number")?.textContent ?? MINUS, {
        spread: each?.querySelector(".spread")?.textContent, metric, tip: each?.dataset.tip }));
      const [x, y] = found.map((each) => (each?.dataset.sort ? Number(each.dataset.sort) : NaN));
      const difference = ids.length < 2 ? [] : [cell(Number.isNaN(y - x) ? "" : shortly(y - x, true), { metric })];
      return make("tr", {}, heading(name + extractor, "row", metric), ...values, ...difference);
    }).filter(Boolean);
  });

  const showNumbers = (a, b) => {
    numbers.replaceChildren();
    const ids = b ? [a, b] : [a];
    const heads = b ? [`A: ${named(a)}`, `B: ${named(b)}`] : [named(a)];
    const pairs = b ? pairedLines(a, b) : [];
    const lines = allLines(ids);
    if (pairs.length) {
      numbers.append(make("div", { className: "card" }, table("Paired comparison", ["Compared by", ...heads, `B ${MINUS} A, paired`], pairs)));
    }
    if (lines.length) {
      const shown = table("All numbers", ["Metric", ...heads, ...(b ? [`B ${MINUS} A`] : [])], lines);
      numbers.append(make("details", { className: "card" }, make("summary", {}, "All numbers"), shown));
    }
  };

  const figuresOf = (id) => new Map([...document.getElementById(id).querySelectorAll(".panel")]
    .map((figure) => [figure.dataset.key, figure]));
  const copied = (figure, name) => {
    const copy = figure.cloneNode(true);
    if (name) copy.querySelector("figcaption").prepend(letter(name), " ");
    for (const holder of copy.querySelectorAll("[data-arrows]")) prepareArrows(holder);
    return copy;
  };
  const without = (id, key, name) => {
    const failure = document.getElementById(id).querySelector(".failure");
    const text = failure ? failure.textContent : `${named(id)} has no picture of this kind.`;
    return make("p", { className: "card absent" }, letter(name), " ", text);
  };
  const showPanels = (a, b) => {
    const [one, other] = [figuresOf(a), b ? figuresOf(b) : new Map()];
    const words = [...document.getElementById(a).querySelectorAll(":scope > p")].map((p) => p.cloneNode(true));
    if (!b) {
      panels.replaceChildren(...words, make("div", { className: "panels" }, ...[...one.values()].map((figure) => copied(figure, ""))));
      return;
    }
    const keys = [...new Set([...one.keys(), ...other.keys()])];
    panels.replaceChildren(...keys.map((key) => make("div", { className: "pair" },
      one.has(key) ? copied(one.get(key), "a") : without(a, key, "a"),
      other.has(key) ? copied(other.get(key), "b") : without(b, key, "b"))));
  };

  const show = () => {
    const [a, b] = [pickA.value, pickB.value === pickA.value ? "" : pickB.value];
    pickB.value = b;
    document.getElementById("pick-swap").hidden = !b;
    document.getElementById("pick-previous").disabled = pickA.selectedIndex === 0;
    document.getElementById("pick-next").disabled = pickA.selectedIndex === pickA.length - 1;
    document.getElementById("picked").textContent = b ? `${named(a)} and ${named(b)}` : named(a);
    showNumbers(a, b);
    showPanels(a, b);
  };
  const pick = () => {
    show();
    try {
      history.replaceState(null, "", `#${pickA.value}${pickB.value ? `+${pickB.value}` : ""}`);
    } catch { /* an embedded page has no address to keep */ }
  };
  const follow = () => {
    const [a, b] = location.hash.slice(1).split("+");
    if (!a.startsWith("checkpoint-") || !document.getElementById(a)) return;
    pickA.value = a;
    pickB.value = b && document.getElementById(b) ? b : "";
    show();
    document.getElementById("checkpoints").scrollIntoView();
  };

  if (store) {
    const all = [...store.querySelectorAll(".checkpoint")];
    for (const each of all) {
      const failed = each.querySelector(":scope > .failure") ? " (failed)" : "";
      for (const select of [pickA, pickB]) select.add(new Option(each.dataset.name + failed, each.id));
    }
    pickA.value = store.dataset.first || all.at(-1).id;
    store.hidden = true;
    document.getElementById("picker").hidden = false;
    for (const select of [pickA, pickB]) select.addEventListener("change", pick);
    const step = (by) => { pickA.selectedIndex += by; pick(); };
    document.getElementById("pick-previous").addEventListener("click", () => step(-1));
    document.getElementById("pick-next").addEventListener("click", () => step(1));
    document.getElementById("pick-swap").addEventListener("click", () => {
      [pickA.value, pickB.value] = [pickB.value, pickA.value];
      pick();
    });
    addEventListener("hashchange", follow);
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.('a[href^="#checkpoint-"]');
      if (!link) return;
      event.preventDefault();
      pickA.value = link.hash.slice(1);
      pick();
      document.getElementById("checkpoints").scrollIntoView();
    });
    show();
    follow();
  }
}

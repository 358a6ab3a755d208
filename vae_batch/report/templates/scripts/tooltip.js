"use strict";
// One tooltip for all: shown by pointer, finger or focus, dismissed by Escape, never in the way.
{
  const tooltip = document.getElementById("tooltip");
  const TIPPED = "[data-metric], [data-tip], [data-key][data-stop], .hit";
  let owner = null;
  let leaving = 0;

  const definition = (column) => {
    const term = document.getElementById(`metric-${column}`);
    if (!term) return [];
    const [kind, meaning] = [...term.nextElementSibling.querySelectorAll("p")].map((p) => p.textContent);
    return [`${term.textContent} (${kind})`, meaning];
  };

  const said = (element) => {
    if (element.matches(".hit")) return [element.getAttribute("aria-label")];
    const { metric, key, tip, sort } = element.dataset;
    const column = metric || (key && key.includes("-") ? key.slice(key.indexOf("-") + 1) : "");
    const error = element.querySelector(":scope > .spread");
    const exact = sort && key ? [`${Number(Number(sort).toPrecision(7))}${error ? ` ${error.textContent}` : ""}`] : [];
    return [...exact, ...(tip ? [tip] : []), ...(column ? definition(column) : [])];
  };

  const place = (element) => {
    const box = element.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tooltip;
    const below = box.bottom + height + 8 < innerHeight || box.top < height + 8;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
    tooltip.style.left = `${left + scrollX}px`;
    tooltip.style.top = `${(below ? box.bottom + 6 : box.top - height - 6) + scrollY}px`;
  };

  const hide = () => {
    clearTimeout(leaving);
    tooltip.hidePopover();
    owner?.removeAttribute("aria-describedby");
    owner = null;
  };

  const show = (element) => {
    clearTimeout(leaving);
    if (element === owner) return;
    hide();
    const lines = said(element).filter(Boolean);
    if (!lines.length) return;
    tooltip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
    tooltip.showPopover();
    owner = element;
    if (!element.matches(".hit")) element.setAttribute("aria-describedby", "tooltip");
    place(element);
  };

  const tipped = (event) => event.target.closest?.(TIPPED);
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const element = tipped(event);
    if (element) show(element);
    else if (tooltip.contains(event.target)) clearTimeout(leaving);
    else if (owner && owner !== document.activeElement) {
      clearTimeout(leaving);
      leaving = setTimeout(hide, 150);
    }
  });
  document.addEventListener("click", (event) => {
    const element = tipped(event);
    if (element) show(element);
    else if (!tooltip.contains(event.target)) hide();
  });
  document.addEventListener("focusin", (event) => {
    const element = tipped(event);
    if (element) show(element);
    else hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
}

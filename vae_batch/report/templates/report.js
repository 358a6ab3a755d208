"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.children[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = head.dataset.kind === "text" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
const sections = [...document.querySelectorAll("details.checkpoint")];
const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", reveal);
reveal();
const toggle = document.getElementById("open-all");
if (toggle) {
  const someClosed = () => sections.some((section) => !section.open);
  const name = () => { toggle.textContent = someClosed() ? "Open all" : "Close all"; };
  for (const section of sections) section.addEventListener("toggle", name);
  toggle.addEventListener("click", () => {
    const open = someClosed();
    for (const section of sections) section.open = open;
  });
  toggle.hidden = false;
  name();
}

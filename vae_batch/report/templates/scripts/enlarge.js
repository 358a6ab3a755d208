// A chart fills the window; Escape or Close goes back to the page.
{
  const dialog = document.getElementById("large");
  const place = dialog.querySelector("div");
  document.getElementById("large-close").addEventListener("click", () => dialog.close());
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#large a")) dialog.close();
    const figure = event.target.closest?.("[data-enlarge]")?.closest("figure");
    if (!figure) return;
    const copy = figure.cloneNode(true);
    copy.className = `${figure.classList.contains("plane") ? "plane " : ""}large`;
    copy.querySelector(".tools").remove();
    place.replaceChildren(copy);
    for (const holder of copy.querySelectorAll("[data-arrows]")) prepareArrows(holder);
    dialog.showModal();
  });
}

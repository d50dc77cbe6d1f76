/* Folded parts of a page stay as a person left them: over a reload, and when they are drawn again. */
(() => {
  const shelf = window.studio.kept("studio-chart-groups");
  const isFound = () => { try { return JSON.parse(shelf.get()) ?? {}; } catch { return {}; } };
  let folded = isFound();

  function fold() {
    for (const part of document.querySelectorAll("details.fold")) {
      const wanted = folded[part.dataset.group];
      if (wanted !== undefined && part.open !== wanted) part.open = wanted;
    }
  }

  document.addEventListener("click", (event) => {
    const part = event.target.closest?.(".fold > summary")?.parentElement;
    if (!part) return;
    folded = { ...folded, [part.dataset.group]: !part.open }; // it opens or folds after this
    shelf.put(JSON.stringify(folded));
  });
  new MutationObserver((changes) => {
    if (changes.some(({ target }) => target.closest?.(".fold") || target.querySelector?.(".fold"))) fold();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();

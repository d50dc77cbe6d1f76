/* Text fields whose text the workspace keeps while it is being written: until the workspace has it, it lies in the tab, so that neither
   a studio that is away nor a reload loses what was typed meanwhile. A field is one of class `keeps-typed`, by its id. */
(() => {
  const shelf = () => window.studio.tab(`studio-typed ${document.querySelector(".masthead .where")?.title ?? ""}`); // a workspace's own
  const waiting = () => shelf().read({});

  document.addEventListener("input", (event) => {
    const field = event.target.closest?.(".keeps-typed");
    if (field) shelf().write({ ...waiting(), [field.id]: event.target.value });
  }, { capture: true });

  window.studio.typed = {
    /* The workspace has this text of a field, or the field was emptied. */
    saved(id, text) {
      const { [id]: typed, ...others } = waiting();
      if (typed === text || !text) shelf().write(others);
    },
    /* What the fields show when their page is opened: what was typed last. */
    restored: (ids, texts) => ids.map((id, at) => waiting()[id] ?? texts[at]),
  };
})();

/* Text fields whose text the workspace keeps while it is being written: until the workspace has it, it lies in the tab, so that neither
   a studio that is away nor a reload loses what was typed meanwhile; nor does the answer to opening a page, asked for before it was
   typed. A field is one of class `keeps-typed`, by its id. */
(() => {
  const shelf = () => window.studio.tab(`studio-typed ${document.querySelector(".masthead .where")?.title ?? ""}`); // a workspace's own
  const waiting = () => shelf().read({});
  const latest = {}; // by field, since the page was loaded
  const shown = (id) => document.getElementById(id)?.querySelector("textarea, input")?.value;

  document.addEventListener("input", (event) => {
    const field = event.target.closest?.(".keeps-typed");
    if (!field) return;
    latest[field.id] = event.target.value;
    shelf().write({ ...waiting(), [field.id]: event.target.value });
  }, { capture: true });

  window.studio.typed = {
    /* The workspace has this text of a field. */
    saved(id, text) {
      if (shown(id) !== text) return;
      const { [id]: _, ...others } = waiting();
      shelf().write(others);
      if (text) latest[id] = text; else delete latest[id];
    },
    /* What the fields show when their page is opened: what was typed last. */
    restored(ids, texts) {
      const found = ids.map((id, at) => waiting()[id] ?? latest[id] ?? texts[at]);
      const lost = Object.fromEntries(ids.map((id, at) => [id, found[at]]).filter(([, text], at) => text !== texts[at]));
      shelf().write({ ...waiting(), ...lost });
      return found;
    },
  };
})();

/* Text fields whose text the workspace keeps while it is being written: until it has it, the tab keeps it, so that neither
   an unreachable studio nor a reload loses what was typed meanwhile; nor does a late answer to opening a page.
   A field has the class `keeps-typed` and an id. */
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
    /* Text of the fields when their page is opened: what was typed last. */
    restored(ids, texts) {
      const found = ids.map((id, at) => waiting()[id] ?? latest[id] ?? texts[at]);
      const lost = Object.fromEntries(ids.map((id, at) => [id, found[at]]).filter(([, text], at) => text !== texts[at]));
      shelf().write({ ...waiting(), ...lost });
      return found;
    },
  };
})();

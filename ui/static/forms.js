/* The settings of a form, kept in the tab by name: a reload shows them again. */
(() => {
  const shelf = (form) => window.studio.tab(`studio-form ${form} ${document.querySelector(".masthead .where")?.title ?? ""}`); // a workspace's own
  window.studio.forms = {
    /* Keep the values of a form; they are handed on as they are. */
    keep(form, names, values) {
      shelf(form).write(Object.fromEntries(names.map((name, at) => [name, values[at] ?? null])));
      return values;
    },
    /* What was kept, or null. */
    kept: (form) => shelf(form).read(null),
  };
})();

/* What a chart of a run shows, as a table in a dialog: a row for each step, a column for each curve. */
(() => {
  function cell(name, text, scope) {
    const node = document.createElement(name);
    node.textContent = text;
    if (scope) node.scope = scope;
    return node;
  }

  function row(cells) {
    const node = document.createElement("tr");
    node.append(...cells);
    return node;
  }

  function table(svg, title) {
    const curves = JSON.parse(svg.dataset.points).map(([name, points]) => [name || title, new Map(points)]);
    const steps = [...new Set(curves.flatMap(([, points]) => [...points.keys()]))].sort((a, b) => a - b);
    const made = document.createElement("table");
    const head = made.createTHead();
    head.append(row([svg.dataset.label, ...curves.map(([name]) => name)].map((name) => cell("th", name, "col"))));
    const value = (points, step) => (points.has(step) ? String(points.get(step)) : "");
    made.createTBody().append(...steps.map((step) =>
      row([cell("th", step.toLocaleString("en"), "row"), ...curves.map(([, points]) => cell("td", value(points, step)))])));
    return made;
  }

  function open(figure) {
    const dialog = document.createElement("dialog");
    dialog.className = "sheet chart-table";
    dialog.setAttribute("aria-label", `${figure.dataset.title}, as a table`);
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", figure.dataset.title);
    scroll.append(table(figure.querySelector("svg"), figure.dataset.title));
    const close = cell("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    dialog.append(cell("h3", figure.dataset.title), scroll, close);
    dialog.addEventListener("close", () => dialog.remove());
    document.querySelector(".gradio-container").append(dialog);
    dialog.showModal(); // the focus goes back to the button when it is closed
  }

  document.addEventListener("click", (event) => {
    const asked = event.target.closest?.("[data-table]");
    if (asked) open(asked.closest("figure.chart"));
  });
})();

/* Charts: the pointer's step is marked in all charts of a run, with the values of all curves there; dragging over one zooms in,
   a double click shows everything again; groups of charts stay as a person folded them. Nothing is asked of the studio but by zooming. */
(() => {
  const BOTTOM = 24; // below a chart's frame, in its own units (ui/components/charts.py)
  const TOP = 12;
  const LEAST_PX = 6; // of a drag; less is a click
  const SVG = "http://www.w3.org/2000/svg";
  const chartOf = (node) => node?.closest?.("figure.chart svg[data-points]");
  const known = new WeakMap();

  /* What a chart shows: its curves, its frame, and where it stands in the window. */
  function read(svg) {
    const text = svg.dataset.points;
    if (known.get(svg)?.text !== text) known.set(svg, { text, curves: JSON.parse(text) });
    const [left, right, low, high] = svg.dataset.frame.split(" ").map(Number);
    const box = svg.getBoundingClientRect();
    return { curves: known.get(svg).curves, left, right, low, high, box, scale: box.width / svg.viewBox.baseVal.width };
  }

  function stepAt(chart, clientX) {
    const { left, right, low, high, box, scale } = chart;
    const share = Math.min(1, Math.max(0, ((clientX - box.left) / scale - left) / (right - left)));
    return low + share * (high - low);
  }

  const xOf = ({ left, right, low, high }, step) => left + (high > low ? (step - low) / (high - low) : 0) * (right - left);
  const nearest = (points, x) => points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  const figure = (value) => String(Number(value.toPrecision(5)));

  function make(name, attributes, text = "") {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return node;
  }

  /* ---- hover ---- */
  let tip = null;

  function hide() {
    if (tip) tip.hidden = true;
    for (const node of document.querySelectorAll(".chart .cross")) node.remove();
  }

  function tell(svg, chart, step, found, event) {
    if (!tip) {
      tip = document.createElement("div");
      tip.className = "chart-tip";
      document.body.append(tip);
    }
    const said = found.map(([name, at, y]) => `${name} ${figure(y)}${at === step ? "" : ` (at ${at})`}`);
    tip.replaceChildren(
      ...[`${svg.dataset.label} ${step.toLocaleString("en")}`, ...said].map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        return line;
      }),
    );
    tip.style.cssText = `left:${Math.min(chart.box.left + chart.scale * xOf(chart, step) + 12, innerWidth - 200)}px;top:${event.clientY + 14}px`;
    tip.hidden = false;
  }

  /* Mark a step in a chart; in charts beside the pointer's with the values of their curves, which have no room for names. */
  function mark(svg, chart, step, found) {
    const x = xOf(chart, step);
    const bottom = svg.viewBox.baseVal.height - BOTTOM;
    const cross = make("g", { class: "cross" });
    cross.append(make("line", { x1: x, x2: x, y1: TOP, y2: bottom }));
    if (found) {
      const isLate = x > (chart.left + chart.right) / 2;
      const text = make("text", { x: x + (isLate ? -5 : 5), y: TOP + 10, "text-anchor": isLate ? "end" : "start" });
      found.forEach(([, , y, index], n) => text.append(make("tspan", { class: `name c${index}` }, `${n ? "  " : ""}${figure(y)}`)));
      cross.append(text);
    }
    svg.append(cross);
  }

  function hover(event) {
    const svg = chartOf(event.target);
    const chart = svg && read(svg);
    hide();
    if (!chart?.curves.length) return;
    const x = stepAt(chart, event.clientX);
    const at = (each, step) => each.curves.map(([name, points], index) => [name, ...nearest(points, step), index]);
    const found = at(chart, x);
    const step = found.map(([, own]) => own).reduce((best, own) => (Math.abs(own - x) < Math.abs(best - x) ? own : best));
    tell(svg, chart, step, found, event);
    mark(svg, chart, step, null);
    for (const other of svg.closest(".run-charts")?.querySelectorAll("figure.chart svg[data-points]") ?? []) {
      if (other === svg || !other.checkVisibility()) continue;
      const beside = read(other);
      if (beside.curves.length && step >= beside.low && step <= beside.high) mark(other, beside, step, at(beside, step));
    }
  }

  /* ---- zoom ---- */
  let drag = null;

  function zoom(text) {
    const field = document.querySelector("#curve-zoom :is(input, textarea)");
    if (!field || field.value === text) return;
    const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set;
    set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function select(event) {
    const { svg, from } = drag;
    const chart = read(svg);
    if (!drag.band?.isConnected) {
      drag.band = make("rect", { class: "drag", y: TOP, height: svg.viewBox.baseVal.height - BOTTOM - TOP });
      svg.append(drag.band);
    }
    const xs = [from, event.clientX].map((x) => xOf(chart, stepAt(chart, x)));
    drag.band.setAttribute("x", Math.min(...xs));
    drag.band.setAttribute("width", Math.abs(xs[1] - xs[0]));
  }

  document.addEventListener("pointerdown", (event) => {
    const svg = chartOf(event.target);
    if (event.button !== 0 || event.pointerType === "touch" || !svg?.closest(".run-charts")) return;
    drag = { svg, from: event.clientX };
    event.preventDefault(); // no text is selected
  });
  document.addEventListener("pointermove", (event) => {
    if (drag?.svg.isConnected) select(event);
    hover(event);
  });
  document.addEventListener("pointerup", (event) => {
    const { svg, from, band } = drag ?? {};
    drag = null;
    band?.remove();
    if (!svg?.isConnected || Math.abs(event.clientX - from) < LEAST_PX) return;
    const chart = read(svg);
    const [first, last] = [from, event.clientX].map((x) => stepAt(chart, x)).sort((a, b) => a - b);
    if (last > first) zoom(`${svg.closest(".run-charts").dataset.run} ${Math.max(0, Math.floor(first))} ${Math.ceil(last)}`);
  });
  document.addEventListener("dblclick", (event) => {
    if (chartOf(event.target)?.closest(".run-charts")) zoom("");
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-zoom-out]")) zoom("");
  });
  document.addEventListener("scroll", hide, { passive: true, capture: true });

  /* ---- groups stay as they were folded, also when they are drawn again ---- */
  const shelf = window.studio.kept("studio-chart-groups");
  const isFound = () => { try { return JSON.parse(shelf.get()) ?? {}; } catch { return {}; } };
  let folded = isFound();

  function fold() {
    for (const group of document.querySelectorAll("#run-curves .chart-group")) {
      const wanted = folded[group.dataset.group];
      if (wanted !== undefined && group.open !== wanted) group.open = wanted;
    }
  }

  document.addEventListener("click", (event) => {
    const group = event.target.closest?.(".chart-group > summary")?.parentElement;
    if (!group) return;
    folded = { ...folded, [group.dataset.group]: !group.open }; // it opens or folds after this
    shelf.put(JSON.stringify(folded));
  });
  const isOurs = (node) => node.matches?.(".cross, .cross *, .drag") ?? false;
  new MutationObserver((changes) => {
    const isDrawn = ({ target, addedNodes, removedNodes }) => target.closest?.("#run-curves") && ![...addedNodes, ...removedNodes].every(isOurs);
    if (!changes.some(isDrawn)) return;
    hide(); // what it tells may be of other steps now
    fold();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();

/* Charts: the pointer's step is marked in all charts of a run, with the values of all curves there; dragging over one zooms in, also
   with a finger, and a double click shows everything again. The keyboard does the same in a chart: arrows go from point to point,
   + and - zoom, 0 shows everything. Nothing is asked of the studio but by zooming. */
(() => {
  const BOTTOM = 24; // pixels below a chart's frame (ui/components/charts.py)
  const TOP = 12;
  const LEAST_PX = 6; // of a drag; less is a click
  const SVG = "http://www.w3.org/2000/svg";
  const chartOf = (node) => node?.closest?.("figure.chart svg[data-points]");
  const known = new WeakMap();

  /* What a chart shows: its curves, where its frame begins in the window, and how wide that is. */
  function read(svg) {
    const text = svg.dataset.points;
    if (known.get(svg)?.text !== text) known.set(svg, { text, curves: JSON.parse(text) });
    const [left, right, low, high] = svg.dataset.frame.split(" ").map(Number);
    const box = svg.getBoundingClientRect();
    return { curves: known.get(svg).curves, left: box.left + left, width: box.width - left - right, low, high, box };
  }

  function stepAt(chart, clientX) {
    const { left, width, low, high } = chart;
    const share = Math.min(1, Math.max(0, (clientX - left) / width));
    return low + share * (high - low);
  }

  /* Pixels from the frame's left edge. */
  const xOf = ({ width, low, high }, step) => (high > low ? (step - low) / (high - low) : 0) * width;
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

  function tell(svg, chart, step, found, y) {
    if (!tip) {
      tip = document.createElement("div");
      tip.className = "chart-tip";
      tip.setAttribute("role", "status");
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
    tip.style.cssText = `left:${Math.min(chart.left + xOf(chart, step) + 12, innerWidth - 200)}px;top:${y + 14}px`;
    tip.hidden = false;
  }

  /* Mark a step in a chart; in charts next to the pointer's with the values of their curves, which have no room for names. */
  function mark(svg, chart, step, found) {
    const x = xOf(chart, step);
    const bottom = chart.box.height - BOTTOM;
    const cross = make("g", { class: "cross" });
    cross.append(make("line", { x1: x, x2: x, y1: TOP, y2: bottom }));
    if (found) {
      const isLate = x > chart.width / 2;
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
    if (chart?.curves.length) point(svg, chart, stepAt(chart, event.clientX), event.clientY);
  }

  /* Tell the values at the step nearest to x, at the height y of the window, and mark it in all charts of the run. */
  function point(svg, chart, x, y) {
    const at = (each, step) => each.curves.map(([name, points], index) => [name, ...nearest(points, step), index]);
    const found = at(chart, x);
    const step = found.map(([, own]) => own).reduce((best, own) => (Math.abs(own - x) < Math.abs(best - x) ? own : best));
    tell(svg, chart, step, found, y);
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

  /* The chart that is dragged over; a run that goes on may have drawn it again meanwhile. */
  function dragged({ svg, title }) {
    if (svg.isConnected) return svg;
    return document.querySelector(`.run-charts figure.chart[data-title="${CSS.escape(title)}"] svg[data-points]`);
  }

  function select(event) {
    const { from } = drag;
    const svg = dragged(drag);
    if (!svg) return;
    const chart = read(svg);
    if (!drag.band?.isConnected) {
      drag.band = make("rect", { class: "drag", y: TOP, height: chart.box.height - BOTTOM - TOP });
      svg.append(drag.band);
    }
    const xs = [from, event.clientX].map((x) => xOf(chart, stepAt(chart, x)));
    drag.band.setAttribute("x", Math.min(...xs));
    drag.band.setAttribute("width", Math.abs(xs[1] - xs[0]));
  }

  document.addEventListener("pointerdown", (event) => {
    const svg = chartOf(event.target);
    if (event.button !== 0 || !svg?.closest(".run-charts")) return;
    drag = { svg, title: svg.closest("figure").dataset.title, from: event.clientX };
    if (event.pointerType !== "touch") event.preventDefault(); // no text is selected
  });
  document.addEventListener("pointercancel", () => { // a finger scrolls the page
    drag?.band?.remove();
    drag = null;
    hide();
  });
  document.addEventListener("pointermove", (event) => {
    if (drag) select(event);
    hover(event);
  });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { from, band } = drag;
    const svg = dragged(drag);
    drag = null;
    band?.remove();
    if (!svg || Math.abs(event.clientX - from) < LEAST_PX) return;
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
  document.addEventListener("scroll", () => {
    const isTold = tip && !tip.hidden;
    hide();
    if (isTold && focused) tellAgain(); // the focus itself scrolls the page
  }, { passive: true, capture: true });

  /* ---- the keyboard ---- */
  let reached = null; // the step at which it is, in all charts
  let focused = ""; // the chart that it is in, which a zoom draws again

  function tellAgain() {
    const svg = document.activeElement;
    const chart = chartOf(svg) === svg && read(svg);
    if (chart && reached !== null) point(svg, chart, reached, chart.box.top);
  }

  function refocus() {
    const holder = document.activeElement; // Gradio draws another chart into it, or takes it away
    if (!focused || holder.closest("figure")?.dataset.title === focused || (holder !== document.body && chartOf(holder) !== holder)) return;
    document.querySelector(`.run-charts figure.chart[data-title="${CSS.escape(focused)}"] svg`)?.focus({ preventScroll: true });
  }

  function keyed(event) {
    const svg = chartOf(event.target);
    if (svg !== event.target || event.ctrlKey || event.metaKey || event.altKey) return;
    const chart = read(svg);
    const steps = [...new Set(chart.curves.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
    if (!steps.length) return;
    const near = steps.indexOf(nearest(steps.map((x) => [x]), reached ?? steps.at(-1))[0]);
    const to = { ArrowLeft: near - 1, ArrowRight: near + 1, PageUp: near - 10, PageDown: near + 10, Home: 0, End: steps.length - 1 }[event.key];
    const by = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (to !== undefined) {
      reached = steps[Math.min(Math.max(to, 0), steps.length - 1)];
      hide();
      tellAgain();
    } else if (by && svg.closest(".run-charts")) {
      const half = Math.max(1, ((chart.high - chart.low) * by) / 2);
      const middle = reached ?? (chart.low + chart.high) / 2;
      const first = Math.max(0, Math.floor(middle - half));
      zoom(`${svg.closest(".run-charts").dataset.run} ${first} ${Math.max(first + 1, Math.ceil(middle + half))}`);
    } else if (event.key === "0" || event.key === "Escape") {
      hide();
      zoom("");
    } else return;
    event.preventDefault();
  }
  document.addEventListener("keydown", keyed);
  document.addEventListener("focusin", (event) => (focused = chartOf(event.target) === event.target ? event.target.closest("figure").dataset.title : ""));
  document.addEventListener("focusout", (event) => chartOf(event.target) === event.target && hide());

  const isOurs = (node) => node.matches?.(".cross, .cross *, .drag") ?? false;
  new MutationObserver((changes) => {
    const isDrawn = ({ target, addedNodes, removedNodes }) => target.closest?.("#run-curves") && ![...addedNodes, ...removedNodes].every(isOurs);
    if (!changes.some(isDrawn)) return;
    hide(); // what it tells may be of other steps now
    refocus();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();

/* Files made of what the charts of a run show, in the browser alone: the points as CSV, and a chart as SVG or PNG. */
(() => {
  const ABOVE = 22; // pixels for the title, and next to it for a long name at a curve's end
  const BESIDE = 16;
  const SHARPNESS = 3; // pixels of a PNG for each of the page's
  const STYLES = ["overflow", "vector-effect", "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "font-variant-numeric", "text-anchor", "paint-order"];

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const quoted = (text) => (/[",\r\n]|^[=+\-@]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const named = (text) => text.replace(/[^A-Za-z0-9-]+/g, "-").replace(/^-|-$/g, "");

  /* A row for each step, a column for each curve of each chart; nothing where a curve has no value. */
  function csv(root) {
    const columns = [];
    for (const svg of root.querySelectorAll("figure.chart svg[data-points]")) {
      const title = svg.closest("figure").dataset.title;
      for (const [name, points] of JSON.parse(svg.dataset.points)) columns.push([name ? `${title}: ${name}` : title, new Map(points)]);
    }
    const steps = [...new Set(columns.flatMap(([, points]) => [...points.keys()]))].sort((a, b) => a - b);
    const rows = [["step", ...columns.map(([name]) => quoted(name))], ...steps.map((step) => [step, ...columns.map(([, points]) => points.get(step) ?? "")])];
    return rows.map((row) => row.join(",") + "\n").join("");
  }

  /* The chart with its styles in it, on the page's ground, so that it looks the same elsewhere. */
  function drawing(figure) {
    const svg = figure.querySelector("svg");
    const box = svg.getBoundingClientRect();
    const [left, right] = svg.dataset.frame.split(" ").map(Number);
    const width = box.width + BESIDE;
    const height = box.height + ABOVE;
    const copy = svg.cloneNode(true);
    const parts = [...svg.querySelectorAll("*")];
    [...copy.querySelectorAll("*")].forEach((node, n) => {
      const style = getComputedStyle(parts[n]);
      node.setAttribute("style", STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    });
    for (const node of copy.querySelectorAll(".cross, .drag")) node.remove();
    for (const name of Object.keys(copy.dataset)) delete copy.dataset[name];
    const make = (name, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      return node;
    };
    const frame = make("svg", { width: box.width - left - right, height: box.height, style: "overflow:visible" });
    frame.append(...copy.childNodes); // percentages are of its width
    const ground = make("rect", { x: -left, y: -ABOVE, width, height });
    ground.setAttribute("fill", getComputedStyle(document.querySelector(".gradio-container")).backgroundColor);
    const title = make("text", { x: 4 - left, y: -7 });
    title.textContent = figure.dataset.title;
    title.setAttribute("style", `font:600 13px sans-serif;fill:${getComputedStyle(figure).color}`);
    copy.append(ground, title, frame);
    copy.removeAttribute("style");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("viewBox", `${-left} ${-ABOVE} ${width} ${height}`);
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  async function png({ text, width, height }) {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: width * SHARPNESS, height: height * SHARPNESS });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  document.addEventListener("click", async (event) => {
    const wanted = event.target.closest?.("[data-file]")?.dataset.file;
    const root = wanted && event.target.closest(".run-charts");
    if (!root) return;
    const run = root.dataset.run;
    if (wanted === "csv") return save(new Blob([csv(root)], { type: "text/csv" }), `${run}.csv`);
    const figure = event.target.closest("figure.chart");
    const drawn = drawing(figure);
    const name = `${run}-${named(figure.dataset.title)}.${wanted}`;
    save(wanted === "svg" ? new Blob([drawn.text], { type: "image/svg+xml" }) : await png(drawn), name);
  });
})();

/* Opens a run at once: asks for what is drawn of it by one request and paints that, before Gradio follows with its chain
   of events, each of which walks through all components of all pages. Until then the controls still belong to the previous
   run, so they wait. Runs in gr.HTML(js_on_load): `server` is given. */
const PATIENCE_MS = 2000;
const ARRIVAL_MS = 10000;
const NARROW = 760;
let newest = 0;

function fill(id, markup) {
  const place = document.querySelector(`#${id} .html-container > div`);
  if (place) place.innerHTML = markup;
}

function wait(isWaiting) {
  const run = document.getElementById("run");
  if (run) run.inert = isWaiting;
}

/* On a narrow page the list stands above the run. */
function reveal() {
  if (window.innerWidth < NARROW) document.getElementById("run")?.scrollIntoView();
}

/* Resolves when the run is on the screen, or cannot be shown this way; Gradio may follow then. */
async function paint(address) {
  const [page, name] = address.split("/");
  const turn = ++newest;
  if (page !== "runs" || !name || !document.getElementById("run-curves")) return;
  const smoothing = document.querySelector("#curve-smoothing input[type=range]")?.value ?? 0;
  const isLog = document.querySelector("#curve-log input")?.checked ?? false;
  const zoom = document.querySelector("#curve-zoom :is(input, textarea)")?.value ?? "";
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const answer = await Promise.race([server.show({ name, smoothing: Number(smoothing), is_log: isLog, zoom }).catch(() => null), late]);
  if (!answer?.parts || turn !== newest) return;
  wait(true);
  for (const [id, markup] of Object.entries(answer.parts)) fill(id, markup);
  reveal();
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/* The page was opened at a run's address: go to the run as it is drawn, until it is reached or the person does something. */
function arrive(address) {
  if (window.innerWidth >= NARROW || !/^runs\/./.test(address)) return;
  const until = performance.now() + ARRIVAL_MS;
  const done = new AbortController();
  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => done.abort(), { signal: done.signal, capture: true, passive: true });
  const look = () => {
    if (done.signal.aborted || window.studio.address() !== address || performance.now() > until) return;
    if (document.querySelector("#run-head h2")?.checkVisibility()) {
      reveal();
      if (document.getElementById("run").getBoundingClientRect().top < 1) return done.abort();
    }
    setTimeout(look, 100);
  };
  look();
}

/* Settings typed for a resume belong to the run that is shown. */
document.addEventListener("input", (event) => {
  if (event.target.closest?.("#run-other")) window.studio.settingsFor = window.studio.address();
}, true);

window.studio.paint = paint;
window.studio.followed = () => wait(false);
arrive(window.studio.address());

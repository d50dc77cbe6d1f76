/* The bell, once a page: asks every few seconds how the runs are, hidden tab or not, and reports those that end or need
   attention: as a notification where that is allowed, in the tab's title while it is hidden. A page
   catches up at once when its tab is shown again, and when a run begins or ends. Runs in gr.HTML(js_on_load): `props`, `trigger` and `server` are given. */
const EVERY_MS = 4000;
const CALM = ["queued", "running"];
const before = new Map();
let plain = document.title;
let missed = [];

function mark() {
  document.body.dataset.bell = window.Notification?.permission ?? "denied";
}

function tell(run) {
  if (window.Notification?.permission === "granted") {
    const shown = new Notification(`${run.name} ${run.state}`, { body: run.said, tag: run.name });
    shown.onclick = () => { window.focus(); location.hash = `runs/${run.name}`; shown.close(); };
  }
  if (!document.hidden) return;
  if (!missed.length) plain = document.title;
  missed = [...missed.filter((name) => !name.startsWith(`${run.name} `)), `${run.name} ${run.state}`];
  document.title = `● ${missed.length > 1 ? `${missed.length} runs` : missed[0]} · ${plain}`;
}

async function ask() {
  const answer = await server.news({}).catch(() => null);
  const isFirst = before.size === 0;
  let isNew = false;
  for (const run of answer?.runs ?? []) {
    const state = before.get(run.name);
    before.set(run.name, run.state);
    if (state && state !== run.state && !CALM.includes(run.state)) tell(run);
    isNew ||= state !== run.state;
  }
  if (isNew && !isFirst && !document.hidden) catchUp();
}

function catchUp() {
  props.value = window.studio.address().split("/")[0];
  trigger("submit");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  if (missed.length) document.title = plain;
  missed = [];
  catchUp();
});
document.addEventListener("click", async (event) => {
  if (event.target.closest?.("button.ask-bell")) { await window.Notification?.requestPermission(); mark(); }
});
mark();
ask();
ask.isForHiddenTabs = true;
setInterval(ask, EVERY_MS);

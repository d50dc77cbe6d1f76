/* The rating page: shows a pair, turns keys and clicks into presses, sends each press until the studio has answered.
   All foreign text goes into the page as text nodes. Runs in gr.HTML(js_on_load): `element` and `server` are given. */
const DEAF_MS = 150; // presses this soon after a pair appeared were meant for the pair before it
const RETRY_MS = 1000;
const PENDING = "studio-pending-press";
const KEYS = {
  1: "left:3", 2: "left:2", 3: "left:1", 5: "tie", " ": "tie", 8: "right:1", 9: "right:2", 0: "right:3",
  b: "both_bad", s: "skip", z: "undo", m: "raw", "?": "help",
};
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = element.querySelector(".rating");
let pair = null;
let shownAt = 0;
let isBusy = false;
let isRaw = false;
let line = Promise.resolve(); // what was sent and is not answered yet
const accepted = []; // times of this session's recorded presses, for the pace

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/* ---- texts: a small, safe subset of Markdown, made of nodes and never of markup ---- */

function inline(parent, text) {
  const pattern = /(`[^`\n]+`)|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    parent.append(text.slice(from, match.index));
    const node = document.createElement(match[1] ? "code" : match[2] ? "strong" : "em");
    node.textContent = match[1] ? match[1].slice(1, -1) : match[2] || match[3];
    parent.append(node);
    from = match.index + match[0].length;
  }
  parent.append(text.slice(from));
}

function block(parent, tag, text, className) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (tag === "pre") node.textContent = text;
  else inline(node, text);
  parent.append(node);
}

function formatted(parent, text) {
  text.split(/^```.*$/m).forEach((piece, index) => {
    if (index % 2) return block(parent, "pre", piece.replace(/^\n|\n$/g, ""));
    for (const paragraph of piece.split(/\n{2,}/)) {
      if (!paragraph.trim()) continue;
      const heading = paragraph.match(/^#{1,6}\s+(.*)$/);
      if (heading) block(parent, "p", heading[1], "heading");
      else block(parent, "p", paragraph.replace(/^\n+|\n+$/g, "").replace(/^(\s*)[-*]\s+/gm, "$1•\u00a0"));
    }
  });
}

function write(name, text) {
  const body = part(name);
  body.replaceChildren();
  body.classList.toggle("is-raw", isRaw);
  if (isRaw) body.textContent = text;
  else formatted(body, text);
}

/* ---- showing ---- */

function show(state) {
  const isNew = state.pair?.id !== pair?.id;
  pair = state.pair;
  part("pair").hidden = part("controls").hidden = !pair;
  part("none").hidden = !!pair;
  part("tally").textContent = tally(state);
  part("session").textContent = state.session ? [state.session.said, state.session.background].filter(Boolean).join(" ") : "";
  part("bar").style.width = `${state.total ? (100 * (state.total - state.to_rate)) / state.total : 0}%`;
  openReasons(false);
  if (!pair) return explain(state);
  paint();
  if (isNew) window.scrollTo({ top: 0 });
}

function paint() {
  if (!pair) return;
  const earlier = pair.messages.slice(0, -1);
  part("earlier").hidden = !earlier.length;
  part("turns").replaceChildren();
  for (const turn of earlier) {
    block(part("turns"), "h5", turn.role);
    block(part("turns"), "p", turn.content);
  }
  write("prompt", pair.messages.at(-1).content);
  write("left", pair.left);
  write("right", pair.right);
  element.querySelector('[data-press="raw"] span').textContent = isRaw ? "formatted" : "raw text";
}

function tally(state) {
  const now = performance.now();
  const minutes = accepted.length > 1 ? (now - accepted[0]) / 60000 : 0;
  const pace = minutes > 0.1 ? ` · ${Math.round(accepted.length / minutes)} a minute` : "";
  const session = accepted.length ? ` · ${accepted.length} this session${pace}` : "";
  return `${state.to_rate.toLocaleString("en")} to rate · ${state.rated.toLocaleString("en")} rated${session}`;
}

function explain(state) {
  if (state.session) return explainSession(state.session);
  const isDone = state.total > 0;
  part("none-title").textContent = isDone ? "Every pair is rated" : "No pairs yet";
  part("none-text").textContent = isDone
    ? `${state.rated.toLocaleString("en")} judgements are in the workspace. See what the loop suggests next.`
    : "A pair is two answers to the same prompt. Your choice between them is what the reward model learns from. " +
      "Sample pairs from a checkpoint, or import preferences.";
  part("none-link").textContent = isDone ? "Back to the loop" : "Sample pairs";
  part("none-link").href = isDone ? "#home" : "#train/sample";
}

function explainSession(session) {
  const waits = session.background || "Its pairs are used up, or only prompts are left that you saw just now.";
  const titles = { resting: "Time for a rest", done: "The session is done" };
  part("none-title").textContent = titles[session.state] ?? "No pair for this session now";
  const next = { resting: "Its card and the next block are under Session.", done: "Its card is under Session; end it there." };
  part("none-text").textContent = `${session.said} ${next[session.state] ?? waits}`;
  part("none-link").textContent = "Open the session";
  part("none-link").href = "#rate";
  part("none-link").onclick = () => document.querySelectorAll("#rate-tabs [role=tab]")[1]?.click();
}

function predicted({ left, checkpoint }) {
  const side = left >= 0.5 ? "left" : "right";
  return `${checkpoint} had given the ${side} answer ${Math.round(100 * Math.max(left, 1 - left))} %.`;
}

function say(text, kind = "") {
  part("said").textContent = text;
  part("said").className = `said ${kind}`;
}

function openReasons(isOpen) {
  part("reasons").hidden = !isOpen;
  part("others").hidden = isOpen; // in its place, so that nothing moves
}

/* ---- talking to the studio: a press is repeated until it is answered, its uuid makes it one rating ---- */

async function call(name, data) {
  for (let tries = 0; ; tries += 1) {
    const answer = await server[name](data).catch(() => null);
    if (answer) return answer;
    say("The studio does not answer. Your press is kept and sent again …", "is-bad");
    await new Promise((done) => setTimeout(done, RETRY_MS));
    const isUp = await fetch("config").then(() => true, () => false);
    if (isUp && tries) location.reload(); // it is back, but as another app; the kept press is sent after the reload
  }
}

function send(name, data) {
  isBusy = true;
  delete root.dataset.ready; // the keycaps are faint while presses are not taken
  line = line.then(() => deliver(name, data)); // one after the other: an undo waits for the rating before it
  return line;
}

async function deliver(name, data) {
  if (name !== "open_pair") sessionStorage.setItem(PENDING, JSON.stringify([name, data]));
  try {
    const answer = await call(name, data);
    sessionStorage.removeItem(PENDING);
    if (answer.recorded) accepted.push(performance.now());
    if (answer.undone) accepted.pop();
    if ("pair" in answer) show(answer);
    if (answer.error) say(answer.error, "is-bad");
    else if (answer.recorded) say(`Recorded: ${answer.recorded}.${answer.prediction ? ` ${predicted(answer.prediction)}` : ""}`);
    else if (answer.undone) say(`Undone: ${answer.undone}. Here is the pair again.`);
  } finally {
    isBusy = false;
    shownAt = performance.now();
    setTimeout(() => { if (!isBusy && performance.now() - shownAt >= DEAF_MS) root.dataset.ready = ""; }, DEAF_MS + 1);
  }
}

function rate(outcome, strength = null, reason = null) {
  if (!pair || !("ready" in root.dataset)) return;
  const elapsed = Math.min(Math.round(performance.now() - shownAt), 86400000);
  send("record", { uuid: uuid(), showing: pair.id, outcome, strength, reason, elapsed_ms: elapsed });
}

function press(name) {
  if (name === "raw") { isRaw = !isRaw; return paint(); }
  if (name === "help") return part("help").open ? part("help").close() : part("help").showModal();
  if (name === "undo") return send("undo", { uuid: uuid() });
  if (name === "skip") return openReasons(part("reasons").hidden);
  const [outcome, strength] = name.split(":");
  rate(outcome, strength ? Number(strength) : null);
}

/* ---- keys and clicks ---- */

function onKey(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  const isChord = event.ctrlKey || event.altKey || event.metaKey || (event.shiftKey && event.key !== "?");
  if (event.repeat || isChord || event.isComposing || !element.checkVisibility()) return;
  const target = event.target;
  if (target.closest?.("input, textarea, select, [contenteditable]")) return;
  if (target.closest?.("button, a, summary") && (event.key === " " || event.key === "Enter")) return;
  if (part("help").open && event.key !== "?") return;
  if (!part("reasons").hidden) {
    if (event.key === "Escape") return openReasons(false);
    if ("1234".includes(event.key)) return rate("skip", null, Number(event.key) - 1);
  }
  const name = KEYS[event.key.toLowerCase()];
  if (!name || (!pair && name !== "undo")) return;
  event.preventDefault();
  press(name);
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.press) press(button.dataset.press);
  else if (button?.dataset.reason) rate("skip", null, Number(button.dataset.reason));
  else return;
  button.blur(); // the next space is a tie, not this button again
});
document.addEventListener("keydown", onKey);

async function open() {
  const kept = JSON.parse(sessionStorage.getItem(PENDING) || "null");
  if (kept) await send(...kept);
  if (!pair) await send("open_pair", {});
}
new IntersectionObserver((seen) => {
  if (seen.some((entry) => entry.isIntersecting) && !pair && !isBusy) open();
}).observe(element.parentElement);
if (element.checkVisibility()) open();

/* The rating page: shows what is to be judged, turns keys and clicks into presses, and shows the next item at once: it was
   fetched before, its order on the screen stored. "Recorded" is said when the studio has the press on disk, not before.
   Runs in gr.HTML(js_on_load), in one scope with the other rate_*.js: `element` and `server` are given. */
const DEAF_MS = 150; // presses this soon after an item appeared were meant for the item before it
const KEYS = {
  1: "left:3", 2: "left:2", 3: "left:1", 5: "tie", " ": "tie", 8: "right:1", 9: "right:2", 0: "right:3", b: "both_bad", s: "skip",
  z: "undo", e: "edit", d: "demonstrate", n: "note", u: "unsafe", h: "hallucinated", r: "refused", m: "raw", y: "together",
  a: "attributes", g: "guideline", "?": "help", "=": "same", backspace: "back", enter: "ranking", j: "down", k: "up",
};
const FLAGS = ["unsafe", "hallucinated", "refused"];
const ATTRIBUTES = ["helpful", "truthful", "harmless"];
const REMARKS = "studio-remarks";
const CHOSEN_TAB = '[role="tab"][aria-selected="true"]'; // Enter and space would do nothing there
const LONG = 20000; // characters from which parts of a text out of sight are not laid out
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = element.querySelector(".rating");
let items = []; // what is on the screen, and what comes after it
let seen = new Map(); // texts that need not be sent again
let state = { to_rate: 0, total: 0, rated: 0 };
let shownAt = 0;
let isDeaf = true;
let isUndoing = false; // what comes back is not on the screen yet
let isRaw = false;
let isTogether = localStorage.getItem("studio-scroll") !== "apart";
let hasAttributes = localStorage.getItem("studio-attributes") === "on";
let asking = null; // skip, edit or a flag: the next digit says which
let writing = null; // what the open text field is for
let remarks = { note: "", flags: {}, attributes: {} };
const accepted = []; // times of this session's recorded presses, for the pace
const item = () => items[0];
const isRanking = () => item()?.texts.length > 2;
const ranking = ladder(part("ladder"), drawPlaces);
ranking.listen(part("cards"));
const studio = sender(() => [...seen.keys()].slice(-12), onAnswer, (why) => say(`${why ?? "The studio does not answer."} Your press is kept and sent again …`, "is-bad"));

/* ---- answers of the studio ---- */

function onAnswer(answer, name, isLast, data) {
  state = { ...state, ...answer };
  if (answer.recorded) accepted.push(performance.now());
  if (answer.undone) accepted.pop();
  if (answer.error) say(answer.error, "is-bad");
  else if (answer.recorded) say(`Recorded: ${answer.recorded}.${answer.prediction ? ` ${answer.prediction}` : ""}`);
  else if (answer.undone) say(`Undone: ${answer.undone}.${answer.back === "here" ? " Here it is again." : answer.back ? " It waits until no session is at work." : answer.again ? ` What it had replaced counts again: ${answer.again}.` : ""}`);
  else if (answer.said) say(answer.said);
  if (!isLast) return take(answer.items ?? [], false);
  if (answer.items) take(answer.items, true);
  else if (isUndoing) settle();
}

/* New items go behind those that wait; the answer to the last press says what is to be shown. */
function take(found, isWhole) {
  for (const each of found) if (each.texts) seen.set(each.id, each);
  const now = item()?.id;
  const sent = studio.showings();
  const list = found.map((each) => seen.get(each.id)).filter((each) => each && !sent.has(each.id));
  if (isWhole) {
    items = list;
    seen = new Map(list.map((each) => [each.id, each]));
  } else items.push(...list.filter((each) => !items.some((other) => other.id === each.id)));
  if (item()?.id !== now || !item() || root.dataset.state === "waits") show();
  else { if (isUndoing && isWhole) settle(); drawTally(); } // an item that stays keeps its clock and takes presses
}

/* ---- showing ---- */

function show() {
  ask(null);
  root.dataset.state = item() ? (isRanking() ? "ranking" : "pair") : studio.waits() ? "waits" : "none";
  part("controls").hidden = false;
  part("pair").hidden = !item();
  part("none").hidden = root.dataset.state !== "none";
  drawTally();
  if (!item()) { if (!studio.waits()) explain(); return settle(); }
  const kept = JSON.parse(sessionStorage.getItem(REMARKS) || "{}");
  remarks = kept.id === item().id ? kept.remarks : { note: "", flags: {}, attributes: {} };
  part("sides").hidden = isRanking();
  part("cards").hidden = !isRanking();
  element.querySelector('[data-press="both_bad"] span').textContent = isRanking() ? "all bad" : "both bad";
  if (isRanking()) layCards();
  paint();
  if (isRanking()) ranking.reset(item().texts.length);
  window.scrollTo({ top: 0 });
  root.dataset.showing = item().id;
  settle();
}

/* From now on the item can be judged, after a moment. */
function settle() {
  shownAt = performance.now();
  isDeaf = true;
  isUndoing = false;
  delete root.dataset.ready; // the keycaps are faint while presses are not taken
  const at = shownAt;
  setTimeout(() => { if (at === shownAt && item()) { isDeaf = false; root.dataset.ready = ""; } }, DEAF_MS + 1);
}

function layCards() {
  part("cards").replaceChildren();
  item().texts.forEach((_, position) => {
    const card = make("article", part("cards"));
    card.dataset.side = position;
    const head = make("h4", card);
    Object.assign(make("button", head, String(position + 1), "chip"), { type: "button" }).dataset.chip = position;
    make("span", head, "", "place").dataset.place = position;
    make("span", head, "", "marks");
    Object.assign(make("div", card, "", "body"), { tabIndex: 0 }).setAttribute("aria-label", `Answer ${position + 1}`);
    make("div", card, "", "attributes");
  });
}

const articles = () => [...(isRanking() ? part("cards") : part("sides")).querySelectorAll("[data-side]")];

function paint() {
  if (!item()) return;
  const { messages, texts } = item();
  part("earlier").hidden = messages.length < 2;
  part("turns").replaceChildren();
  for (const turn of messages.slice(0, -1)) {
    make("h5", part("turns"), turn.role);
    write(make("div", part("turns"), "", "body"), turn.content);
  }
  write(part("prompt"), messages.at(-1).content);
  articles().forEach((article, position) => { const body = article.querySelector(".body"); write(body, texts[position]); body.scrollTop = 0; });
  element.querySelector('[data-press="raw"] span').textContent = isRaw ? "formatted" : "raw text";
  drawRemarks();
}

function write(body, text) {
  body.classList.toggle("is-long", text.length > LONG);
  drawText(body, text, isRaw);
}

function drawTally() {
  drawGuideline();
  const minutes = accepted.length > 1 ? (performance.now() - accepted[0]) / 60000 : 0;
  const pace = minutes > 0.1 ? ` · ${Math.round(accepted.length / minutes)} a minute` : "";
  const session = accepted.length ? ` · ${accepted.length} this session${pace}` : "";
  if (state.session) return drawSession(state.session, pace);
  part("tally").textContent = `${state.to_rate.toLocaleString("en")} to rate · ${state.rated.toLocaleString("en")} rated${session}`;
  part("bar").style.width = `${state.total ? (100 * (state.total - state.to_rate)) / state.total : 0}%`;
}

function drawSession(session, pace) {
  part("tally").textContent = `${session.said}${pace}`;
  part("bar").style.width = `${Math.min(100, (100 * session.given) / session.target)}%`;
}

function drawGuideline() {
  if (state.guideline) { part("guideline").textContent = state.guideline.split("\n")[0]; part("guideline-text").textContent = state.guideline; }
}

/* Between blocks, at the end, and where a session has no pair that it may show. */
function explainSession(session) {
  const titles = { resting: "Time for a rest", done: "The session is done" };
  const next = { resting: "Its card and the next block are under Session.", done: "Its card is under Session; end it there." };
  part("none-title").textContent = titles[session.state] ?? "No pair for this session now";
  part("none-text").textContent = `${session.said} ${next[session.state] ?? (session.background || "Its pairs are used up, or only prompts are left that you saw just now. Pause or end it under Session.")}`;
  part("none-link").textContent = "Open the session";
  part("none-link").href = "#rate";
  part("none-link").onclick = () => document.querySelectorAll("#rate-tabs [role=tab]")[1]?.click();
}

function explain() {
  part("none-link").onclick = null;
  if (state.session) return explainSession(state.session);
  const isDone = state.total > 0;
  part("none-title").textContent = isDone ? "Every pair is rated" : "No pairs yet";
  part("none-text").textContent = isDone
    ? `${state.rated.toLocaleString("en")} judgements are in the workspace${state.by_person ? "; z takes back the last" : ""}. See what the loop suggests next.`
    : "A pair is two answers to the same prompt. Your choice between them is what the reward model learns from. " +
      "Sample pairs from a checkpoint, or import preferences.";
  part("none-link").textContent = isDone ? "Back to the loop" : "Sample pairs";
  part("none-link").href = isDone ? "#home" : "#train/sample";
}

function say(text, kind = "") {
  part("said").textContent = text;
  part("said").className = `said ${kind}`;
}

/* ---- notes, flags, attributes ---- */

function drawRemarks() {
  articles().forEach((article, position) => {
    article.querySelector(".marks").replaceChildren(...FLAGS.filter((flag) => remarks.flags[flag]?.includes(position)).map((flag) => Object.assign(document.createElement("span"), { className: "tag", textContent: flag })));
    drawAttributes(article.querySelector(".attributes"), position);
  });
  part("noted").textContent = remarks.note ? `Note: ${remarks.note}` : "";
  element.querySelector('[data-press="attributes"]').setAttribute("aria-pressed", asksAttributes());
  element.querySelector('[data-press="together"]').setAttribute("aria-pressed", isTogether);
  if (item()) sessionStorage.setItem(REMARKS, JSON.stringify({ id: item().id, remarks }));
}

const asksAttributes = () => hasAttributes || !!state.asks_attributes;

function drawAttributes(node, position) {
  node.hidden = !asksAttributes();
  if (node.hidden) return node.replaceChildren();
  if (node.dataset.for === String(item().id)) return;
  node.dataset.for = item().id;
  node.replaceChildren();
  for (const name of ATTRIBUTES) {
    const field = make("fieldset", node);
    make("legend", field, name);
    for (let value = 1; value <= 7; value += 1) {
      const label = make("label", field);
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: `${name}-${position}`, value, checked: remarks.attributes[name]?.[position] === value });
      radio.dataset.attribute = name;
      label.append(radio, String(value));
    }
  }
}

function onAttribute(event) {
  const name = event.target.dataset?.attribute;
  if (!name) return;
  const position = Number(event.target.closest("[data-side]").dataset.side);
  remarks.attributes[name] ??= item().texts.map(() => null);
  remarks.attributes[name][position] = Number(event.target.value);
  if (!event.target.matches(":focus-visible")) event.target.blur(); // after a click the keys go on judging
  drawRemarks();
}

function flag(name, position) {
  const at = remarks.flags[name] ?? [];
  remarks.flags[name] = at.includes(position) ? at.filter((each) => each !== position) : [...at, position];
  say(`${at.includes(position) ? "Not flagged" : "Flagged"} ${name}: answer ${position + 1}. It is recorded with your judgement.`);
  drawRemarks();
}

/* ---- presses ---- */

function rate(outcome, facts = {}) {
  if (!item() || isDeaf || isUndoing) return;
  const elapsed = Math.min(Math.round(performance.now() - shownAt), 86400000);
  const data = { uuid: uuid(), showing: item().id, outcome, elapsed_ms: elapsed, ...facts };
  if (remarks.note) data.note = remarks.note;
  if (Object.keys(remarks.flags).length) data.flags = remarks.flags;
  if (asksAttributes() && Object.keys(remarks.attributes).length) data.attributes = remarks.attributes;
  sessionStorage.removeItem(REMARKS);
  say("Saving …");
  studio.send("record", data);
  items.shift();
  show();
}

function undo() {
  say("Undoing …");
  isDeaf = isUndoing = true;
  shownAt = performance.now();
  delete root.dataset.ready;
  studio.send("undo", { uuid: uuid() });
}

/* Ask which one; `name` is skip, edit or a flag, null stops asking. */
function ask(name) {
  asking = asking === name ? null : name;
  part("reasons").hidden = asking !== "skip";
  part("which").hidden = !asking || asking === "skip";
  part("others").hidden = !!asking; // in their place, so that nothing moves
  root.dataset.asking = asking ? "yes" : "no";
  if (!asking || asking === "skip") return;
  part("which-words").textContent = asking === "edit" ? "Make ideal" : `Flag as ${asking}`;
  part("which-sides").replaceChildren(...item().texts.map((_, position) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.pick = position;
    make("kbd", button, String(position + 1));
    make("span", button, isRanking() ? `answer ${position + 1}` : ["left", "right"][position]);
    return button;
  }));
}

function pick(position) {
  const name = asking;
  if (!item() || position < 0 || position >= item().texts.length) return;
  ask(null);
  if (name === "edit") openWriter("edit", position);
  else flag(name, position);
}

function press(name) {
  if (name === "help" || name === "guideline") return part(name === "help" ? "help" : "guideline-dialog").open ? part(name === "help" ? "help" : "guideline-dialog").close() : part(name === "help" ? "help" : "guideline-dialog").showModal();
  if (name === "undo") return undo();
  if (!item()) return;
  if (name === "asked") return ask(null);
  if (name === "raw") { isRaw = !isRaw; return paint(); }
  if (name === "together") { isTogether = !isTogether; localStorage.setItem("studio-scroll", isTogether ? "together" : "apart"); say(isTogether ? "Answers scroll together." : "Answers scroll apart."); return drawRemarks(); }
  if (name === "attributes") { hasAttributes = !hasAttributes; localStorage.setItem("studio-attributes", hasAttributes ? "on" : "off"); for (const article of articles()) delete article.querySelector(".attributes").dataset.for; return drawRemarks(); }
  if (name === "up" || name === "down") return articles()[0].querySelector(".body").scrollBy({ top: name === "up" ? -120 : 120 });
  if (name === "skip" || name === "edit" || FLAGS.includes(name)) return ask(name);
  if (name === "note") return openWriter("note");
  if (name === "demonstrate") return openWriter("demonstrate");
  if (isRanking()) return pressRanking(name);
  const [outcome, strength] = name.split(":");
  if (["left", "right", "tie", "both_bad"].includes(outcome)) rate(outcome, strength ? { strength: Number(strength) } : {});
}

function pressRanking(name) {
  if (name === "same") return ranking.tie();
  if (name === "back") return ranking.back();
  if (name === "both_bad") return rate("both_bad");
  if (name !== "ranking" || isDeaf) return;
  const left = ranking.left();
  if (left.length > 1) return say(`Place ${left.map((position) => position + 1).join(", ")} first; the last one left over comes last by itself.`, "is-bad");
  rate("ranking", { ranks: ranking.ranks() });
}

function drawPlaces(rungs, left) {
  if (part("said").classList.contains("is-bad")) say(""); // what was wrong is being mended
  for (const node of part("cards").querySelectorAll("[data-place]")) {
    const place = rungs.findIndex((rung) => rung.includes(Number(node.dataset.place)));
    node.textContent = place < 0 ? "" : `place ${place + 1}${rungs[place].length > 1 ? ", tied" : ""}`;
  }
  part("cards").querySelectorAll("[data-side]").forEach((card) => card.classList.toggle("is-placed", !left.includes(Number(card.dataset.side))));
  element.querySelector('[data-press="ranking"]').disabled = left.length > 1;
}

/* ---- keys, clicks, scrolling ---- */

function onKey(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  const isChord = event.ctrlKey || event.altKey || event.metaKey || (event.shiftKey && event.key !== "?");
  if (part("writer").open) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keepWriting();
    return;
  }
  if (event.repeat || isChord || event.isComposing || !element.checkVisibility()) return;
  const target = event.target;
  if (target.matches?.("[data-attribute]")) return onAttributeKey(event, target);
  if (target.closest?.("input, textarea, select, [contenteditable]")?.checkVisibility()) return; // a field that was just closed keeps the focus for a frame
  if (target.closest?.("button, a, summary") && !target.matches(CHOSEN_TAB) && (event.key === " " || event.key === "Enter")) return;
  const dialog = element.querySelector("dialog[open]");
  if (dialog && !(event.key === "?" && dialog === part("help")) && !(event.key === "g" && dialog !== part("help"))) return;
  if (asking && event.key === "Escape") return ask(null);
  if (asking === "skip" && "1234".includes(event.key)) return rate("skip", { reason: Number(event.key) - 1 });
  if (asking && asking !== "skip" && /^[1-9]$/.test(event.key)) { event.preventDefault(); return pick(Number(event.key) - 1); } // not typed into the field it opens
  if (asking && /^[0-9 b]$/.test(event.key)) return; // a judgement now would be a slip
  if (isRanking() && !isDeaf && /^[1-9]$/.test(event.key)) { event.preventDefault(); return ranking.place(Number(event.key) - 1); }
  const chip = target.closest?.("[data-chip]");
  if (chip && ["ArrowLeft", "ArrowRight"].includes(event.key)) { event.preventDefault(); return ranking.shift(Number(chip.dataset.chip), event.key === "ArrowLeft" ? -1 : 1); }
  const name = KEYS[event.key.toLowerCase()];
  if (!name || (!item() && !["undo", "help", "guideline"].includes(name))) return;
  event.preventDefault();
  press(name);
}

/* On a scale a digit chooses its number, Escape goes back to judging. */
function onAttributeKey(event, target) {
  if (event.key === "Escape") return target.blur();
  if (!/^[1-7]$/.test(event.key)) { if (KEYS[event.key.toLowerCase()]) say("Digits choose on the scale now; Esc goes back to judging."); return; }
  event.preventDefault();
  const radio = target.closest("fieldset").querySelector(`[value="${event.key}"]`);
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  target.closest("fieldset").nextElementSibling?.querySelector("input")?.focus();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { press: name, reason, pick: side, chip } = button.dataset;
  const focus = button.matches(":focus-visible") ? Number(chip) : null;
  if (name) press(name);
  else if (reason) rate("skip", { reason: Number(reason) });
  else if (side) pick(Number(side));
  else if (chip) { if (!isDeaf) ranking.place(Number(chip), focus); return; }
  else if (button === part("writer-keep")) return keepWriting();
  else return;
  button.blur(); // the next space is a tie, not this button again
});
element.addEventListener("change", onAttribute);
part("writer-text").addEventListener("input", keepDraft);
part("writer").addEventListener("close", () => { if (!part("writer").open) writing = null; }); // it comes late: the next one may be open
document.addEventListener("keydown", onKey);

/* Both answers scroll to the same share of their lengths. */
let follower = null;
element.addEventListener("scroll", (event) => {
  const from = event.target;
  if (!isTogether || !from.matches?.("[data-side] .body")) return;
  if (from === follower) { follower = null; return; }
  const share = from.scrollTop / Math.max(1, from.scrollHeight - from.clientHeight);
  for (const body of articles().map((article) => article.querySelector(".body"))) {
    if (body === from || Math.abs(body.scrollTop - share * (body.scrollHeight - body.clientHeight)) < 2) continue;
    follower = articles().length === 2 ? body : null;
    body.scrollTop = share * (body.scrollHeight - body.clientHeight);
  }
}, true);

async function open() {
  if (studio.waits()) await studio.resend();
  await studio.send("open_items", {}); // a session may have begun or ended meanwhile
}
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting) && !studio.waits()) open();
}).observe(element.parentElement);
if (studio.waits()) open();

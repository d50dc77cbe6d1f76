/* The rating page: shows what is to be judged, turns keys and clicks into presses, and shows the next item at once: it was
   fetched before, its order on the screen stored. It says "Recorded" only when the studio has the press on disk.
   Runs in gr.HTML(js_on_load), in one scope with the other rate_*.js: `element` and `server` are given. */
const DEAF_MS = 150; // presses this soon after an item appeared were meant for the item before it
const CHOSEN_TAB = '[role="tab"][aria-selected="true"]'; // Enter and space would do nothing there
const LOOK_MS = 3000; // between looks at a session whose first pairs are being made
const LONG = 20000; // characters from which parts of a text out of sight are not laid out
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = element.querySelector(".rating");
let items = []; // what is on the screen, and what comes after it
let seen = new Map(); // texts that need not be sent again
let state = { to_rate: 0, total: 0, rated: 0 };
let shownAt = 0;
let looking = null; // the next look for pairs, while there is none
let isDeaf = true;
let isUndoing = false; // what comes back is not on the screen yet
let isRaw = false;
let isTogether = window.studio.kept("studio-scroll").get() !== "apart";
let hasAttributes = window.studio.kept("studio-attributes").get() === "on";
let asking = null; // skip, edit or a flag: the next digit says which
let isBack = false; // a text was being written when the page was loaded again
let isHeld = false; // the key before was not understood, so a judgement now would be a slip
let writing = null; // what the open text field is for
let remarks = { note: "", flags: {}, attributes: {}, rungs: [] };
const accepted = []; // times of the presses that were recorded since the page was opened, for the pace
const item = () => items[0];
const isRanking = () => shown()?.texts.length > 2;
const drafts = draftBook((draft) => server.draft(draft));
const ranking = ladder(part("ladder"), drawPlaces);
ranking.listen(part("cards"));
const studio = sender(() => [...seen.keys()].slice(-12), onAnswer, (why) => say(`${why ?? "The studio does not answer."} Your press is kept and sent again …`, "is-bad"));

/* ---- answers of the studio ---- */

function onAnswer(answer, name, isLast, data) {
  state = { ...state, ...answer };
  if (answer.recorded && name !== "settle") accepted.push(performance.now());
  if (answer.undone) accepted.pop();
  if (name === "record" && answer.recorded) dropRemarks(data.showing);
  if (name === "write" && !answer.error && drafts.read(data) === data.text) drafts.forget(data);
  if (name === "settle" && !answer.error) drafts.drop({ kind: "gap", showing: data.showing });
  if (answer.error) say(answer.error + (name === "write" || data.text ? " Your text is kept as a draft." : ""), "is-bad");
  else if (answer.recorded) say(`Recorded: ${answer.recorded}.${answer.prediction ? ` ${answer.prediction}` : ""}`);
  else if (answer.undone) say(`Undone: ${answer.undone}.${answer.back === "here" ? " Here it is again." : answer.back ? " It waits until no session is running." : answer.again ? ` What it had replaced counts again: ${answer.again}.` : ""}`);
  else if (answer.said) say(answer.said);
  if (!isLast) return take(answer.items ?? [], false);
  if (answer.items) return take(answer.items, true);
  if (isUndoing) settle();
  if (name !== "open_items") studio.send("open_items", {}); // refused, for instance: what was judged is still open
}

/* New items go after those that wait; the answer to the last press says what is to be shown. */
function take(found, isWhole) {
  for (const each of found) {
    if (each.texts || seen.has(each.id)) seen.set(each.id, { ...seen.get(each.id), ...each });
    drafts.learn(each.id, each.drafts ?? []);
  }
  const now = item()?.id;
  const isAsked = isWhole && takeQuestion();
  const sent = studio.showings();
  const list = found.map((each) => seen.get(each.id)).filter((each) => each && !sent.has(each.id));
  if (isWhole) {
    items = list;
    seen = new Map(list.map((each) => [each.id, each]));
  } else items.push(...list.filter((each) => !items.some((other) => other.id === each.id)));
  if (isAsked || item()?.id !== now || !item() || root.dataset.state === "waits") show();
  else { if (isUndoing && isWhole) settle(); drawTally(); } // an item that stays keeps its clock and takes presses
}

/* ---- showing ---- */

function show() {
  isHeld = !!asking && !!shown(); // another item came while a question was open: the digit is not for this one
  ask(null);
  root.dataset.state = question ? "question" : item() ? (isRanking() ? "ranking" : "pair") : studio.waits() ? "waits" : "none";
  part("controls").hidden = false;
  part("pair").hidden = !shown();
  part("second-look").hidden = !question;
  part("none").hidden = root.dataset.state !== "none";
  drawTally();
  if (question) return showQuestion();
  if (!item()) { if (!studio.waits()) { explain(); lookAgain(); } return settle(); }
  recallRemarks();
  part("sides").hidden = isRanking();
  part("cards").hidden = !isRanking();
  if (isRanking()) layCards();
  for (const node of element.querySelectorAll("[data-side] .attributes")) delete node.dataset.for;
  paint();
  if (isRanking()) ranking.reset(item().texts.length, remarks.rungs);
  window.scrollTo({ top: 0 });
  root.dataset.showing = item().id;
  settle();
  recallWriting();
}

/* From now on the item can be judged, after a moment. */
function settle() {
  shownAt = performance.now();
  isDeaf = true;
  isUndoing = false;
  delete root.dataset.ready; // the keycaps are faint while presses are not taken
  const at = shownAt;
  setTimeout(() => { if (at === shownAt && shown()) { isDeaf = false; root.dataset.ready = ""; } }, DEAF_MS + 1);
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
  if (!shown()) return;
  const { messages, texts, drawn } = shown();
  part("earlier").hidden = messages.length < 2;
  part("turns").replaceChildren();
  messages.slice(0, -1).forEach((turn, at) => {
    make("h5", part("turns"), turn.role);
    write(make("div", part("turns"), "", "body"), turn.content, drawn.messages[at]);
  });
  write(part("prompt"), messages.at(-1).content, drawn.messages.at(-1));
  articles().forEach((article, position) => { const body = article.querySelector(".body"); write(body, texts[position], drawn.texts[position]); body.scrollTop = 0; });
  element.querySelector('[data-press="raw"] span').textContent = isRaw ? "formatted" : "raw text";
  if (!question) drawRemarks();
}

function write(body, text, drawn) {
  body.classList.toggle("is-long", text.length > LONG);
  drawText(body, text, isRaw ? {} : drawn);
}

function drawTally() {
  drawGuideline();
  const pace = paceOf(accepted);
  const here = accepted.length ? ` · ${accepted.length} since you opened the page${pace}` : "";
  if (state.session) return drawSession(state.session, pace);
  const wanted = state.rated < state.enough ? `; about ${state.enough} make a first reward model` : "";
  part("tally").textContent = `${state.to_rate.toLocaleString("en")} to rate · ${state.rated.toLocaleString("en")} rated${wanted}${here}`;
  part("bar").style.width = `${state.total ? (100 * (state.total - state.to_rate)) / state.total : 0}%`;
}

/* Votes a minute, from vote to vote; a pause counts as on the card of a session, and being away afterwards does not count. */
function paceOf(times) {
  let taken = 0;
  for (let at = 1; at < times.length; at += 1) taken += Math.min(times[at] - times[at - 1], IDLE_MS);
  return taken > 6000 ? ` · ${Math.round((60000 * (times.length - 1)) / taken)} a minute` : "";
}

function drawSession(session, pace) {
  part("tally").textContent = `${session.said}${session.outlook ? ` ${session.outlook}` : ""}${pace}`;
  part("bar").style.width = `${Math.min(100, (100 * session.given) / session.target)}%`;
}

function drawGuideline() {
  if (state.guideline) { part("guideline").textContent = state.guideline.split("\n")[0]; part("guideline-text").textContent = state.guideline; }
}

/* Between blocks, at the end, and where a session has no pair to show. */
function explainSession(session) {
  const titles = { resting: "Time for a rest", done: "The session is done" };
  const next = { resting: "Its card and the next block are under Session.", done: "Its card is under Session; end it there." };
  part("none-title").textContent = titles[session.state] ?? "No pair for this session now";
  part("none-text").textContent = `${session.said} ${next[session.state] ?? (session.background || "Its pairs are used up, or the only prompts left are ones you have just seen. Pause or end it under Session.")}`;
  part("none-link").textContent = "Open the session";
  part("none-link").href = "#rate";
  part("none-link").onclick = () => document.querySelectorAll("#rate-tabs [role=tab]")[1]?.click();
}

/* Pairs that are being sampled for this session appear by themselves. */
function lookAgain() {
  clearTimeout(looking);
  if (state.session?.background) looking = setTimeout(() => { if (!item() && element.offsetParent) open(); }, LOOK_MS);
}

function explain() {
  part("none-link").onclick = null;
  if (state.session) return explainSession(state.session);
  const isDone = state.total > 0;
  part("none-title").textContent = isDone ? "Every pair is rated" : "No pairs yet";
  part("none-text").textContent = isDone
    ? `${state.rated.toLocaleString("en")} judgements are in the workspace${state.by_person ? `; ${keyOf("undo")} takes back the last` : ""}. See what the loop suggests next.`
    : "A pair is two answers to the same prompt. Your choice between them is what the reward model learns from. " +
      "Sample pairs from a checkpoint, or import preferences.";
  part("none-link").textContent = isDone ? "Back to the loop" : "Sample pairs";
  part("none-link").href = isDone ? "#home" : "#train/sample";
}

function say(text, kind = "") {
  part("said").textContent = text;
  part("said").className = `said ${kind}`;
}

/* ---- presses ---- */

function rate(outcome, facts = {}) {
  if (!item() || question || isDeaf || isUndoing) return;
  const elapsed = Math.min(Math.round(performance.now() - shownAt), 86400000);
  const data = { uuid: uuid(), showing: item().id, outcome, elapsed_ms: elapsed, ...facts };
  if (remarks.note) data.note = remarks.note;
  if (Object.keys(remarks.flags).length) data.flags = remarks.flags;
  if (asksAttributes() && Object.keys(remarks.attributes).length) data.attributes = remarks.attributes;
  ask(null);
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
  part("others").hidden = !!asking; // instead of them, so that nothing moves
  root.dataset.asking = asking ? "yes" : "no";
  part("presses").ariaDisabled = String(!!asking); // a judgement now would be a slip
  if (!asking || asking === "skip") return;
  part("which-words").textContent = asking === "edit" ? "Edit into the ideal answer" : `Flag as ${asking}`;
  part("which-sides").replaceChildren(...item().texts.map((_, position) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.pick = position;
    make("kbd", button, String(position + 1));
    make("span", button, isRanking() ? `answer ${position + 1}` : VOCABULARY.sides[position]);
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
  isHeld = false;
  if (name === "help" || name === "guideline") return part(name === "help" ? "help" : "guideline-dialog").open ? part(name === "help" ? "help" : "guideline-dialog").close() : part(name === "help" ? "help" : "guideline-dialog").showModal();
  if (name === "undo") return undo();
  if (!item() || question) return;
  if (name === "asked") return ask(null);
  if (name === "raw") { isRaw = !isRaw; return paint(); }
  if (name === "together") { isTogether = !isTogether; window.studio.kept("studio-scroll").put(isTogether ? "together" : "apart"); say(isTogether ? "Answers scroll together." : "Answers scroll apart."); return drawRemarks(); }
  if (name === "attributes") { hasAttributes = !hasAttributes; window.studio.kept("studio-attributes").put(hasAttributes ? "on" : "off"); for (const article of articles()) delete article.querySelector(".attributes").dataset.for; return drawRemarks(); }
  if (name === "up" || name === "down") return articles()[0].querySelector(".body").scrollBy({ top: name === "up" ? -120 : 120 });
  if (name === "skip" || name === "edit" || FLAGS.includes(name)) return ask(name);
  if (name === "note") return openWriter("note");
  if (name === "demonstrate") return openWriter("demonstrate");
  if (isRanking()) return pressRanking(name);
  const [outcome, strength] = VOCABULARY.judgements[name] ?? [];
  if (outcome) rate(outcome, strength ? { strength } : {});
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
  keepRungs(rungs);
  if (part("said").classList.contains("is-bad")) say(""); // the error is being fixed
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
  const { target } = event;
  if (part("writer").open) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing && !event.repeat) keepWriting();
    return;
  }
  if (event.repeat || !element.checkVisibility()) return;
  const key = meantBy(event);
  if (target.matches?.("[data-attribute]")) return onAttributeKey(event, key);
  if (target.closest?.("input, textarea, select, [contenteditable]")?.checkVisibility()) return; // a field that was just closed keeps the focus for a frame
  if (target.closest?.("button, a, summary") && !target.matches(CHOSEN_TAB) && (key === " " || key === "enter")) return;
  const dialog = element.querySelector("dialog[open]");
  const open = dialog && (dialog === part("help") ? "help" : "guideline");
  const [name, value] = order(key, { item: !!item(), question: question?.offered, asking, isRanking: isRanking(), isDeaf, isHeld, isBack, dialog: open }) ?? [];
  const chip = target.closest?.("[data-chip]");
  if (!name || (name === "shift" && !chip)) return;
  if (name !== UNKNOWN && name !== METHOD) event.preventDefault(); // nor typed into the field that it opens
  ({
    [UNKNOWN]: () => hold(`${event.key} is not a key here, so nothing was done. Press ${keyOf("help")} for the keys.`),
    [METHOD]: () => hold("An input method took this key, so nothing was done. Switch it off to judge by keys."),
    held: () => { isHeld = false; say("The key before it was not understood, so this one was not taken as a judgement. Press it again to judge.", "is-bad"); },
    back: () => recallWriting(),
    judge: () => { forgetWriting(); say("The text is kept as a draft."); },
    settle: () => answerQuestion(value),
    unsettled: () => remindOfQuestion(),
    unask: () => ask(null),
    unasked: () => say(asking === "skip" ? `Skip: press 1 to ${VOCABULARY.skipReasons} for the reason, Esc to go back.` : `Press 1 to ${item().texts.length} for the answer, Esc to go back.`, "is-bad"),
    skip: () => rate("skip", { reason: value }),
    pick: () => pick(value),
    place: () => { isHeld = false; ranking.place(value); },
    shift: () => ranking.shift(Number(chip.dataset.chip), value),
    press: () => press(value),
  })[name]();
}

/* The key is unknown, and may have been the first of two. */
function hold(text) {
  isHeld = true;
  if (item()) say(text, "is-bad");
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (isBack && button.closest('[data-part="controls"]')) forgetWriting(); // a press of the mouse is meant
  const { press: name, reason, pick: side, chip, settle: answer } = button.dataset;
  const focus = button.matches(":focus-visible") ? Number(chip) : null;
  if (name) button.closest("dialog")?.close();
  if (name) press(name);
  else if (reason) rate("skip", { reason: Number(reason) });
  else if (side) pick(Number(side));
  else if (answer) answerQuestion(answer);
  else if (chip) { if (!isDeaf) ranking.place(Number(chip), focus); return; }
  else if (button === part("writer-keep")) return keepWriting();
  else return;
  button.blur(); // the next space is a tie, not this button again
});
element.addEventListener("change", onAttribute);
part("writer-text").addEventListener("input", keepDraft);
part("writer").addEventListener("close", () => { if (!part("writer").open) closeWriter(); }); // it comes late: the next one may be open
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
    const before = body.scrollTop;
    body.scrollTop = share * (body.scrollHeight - body.clientHeight);
    follower = articles().length === 2 && body.scrollTop !== before ? body : null; // else no event would come, and a person's own be lost
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

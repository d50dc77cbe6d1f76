/* The page Chat: talks to the studio, and keeps what it shows in step with it. While an answer grows, one call waits for more of
   it; otherwise nothing is asked. Runs in gr.HTML(js_on_load), in one scope with the other scripts of static/chat: `element`
   and `server` are given. */
const AWAY = "The studio does not answer. What was said is kept; try again when it is back.";
const HINT_OF_TWO = "Both checkpoints answer the same message with the same seed, so that you can say which answer is better; the conversation then goes on from one of them.";
const HINT_OF_ONE = "Choose a second checkpoint under “Compared with” to have two answers side by side and say which is better.";
const AGAIN_MS = 1000;
const PAUSE_MS = 40; // between two calls for more of an answer
const NEAR_PX = 120; // of the end of the page, within which it follows an answer
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = element.querySelector(".chat");
let view = null; // the conversation shown; null for a new one
let policies = [];
let isListed = false; // the checkpoints and conversations have come
let growing = new Map(); // id of an answer that grows to the number of its characters that are here
let isHearing = false;
let shownAt = 0; // when both answers had come to their end
let searched = 0;
let numAsking = 0; // calls that are not answered yet
let isLooked = false;
const scores = new Map(); // what the reward model says of judged pairs, by their ids
const tokens = new Map(); // id of an answer to its tokens as markup, where they are shown
const typed = window.studio.tab(`studio-chat ${workspaceName}`); // not sent yet, by conversation

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function say(text, kind = "") {
  part("said").textContent = text;
  part("said").className = `said ${kind}`;
}

/* An answer of the studio; null where there is none. */
async function call(name, data) {
  root.dataset.asking = numAsking += 1;
  const answer = await server[name](data).catch(() => null);
  root.dataset.asking = numAsking -= 1;
  return answer && typeof answer === "object" && !("detail" in answer) ? answer : null;
}

/* Call, and show what comes of it; returns whether it was done. */
async function act(name, data) {
  const answer = await call(name, data);
  if (!answer || answer.error) say(answer?.error ?? AWAY, "is-bad");
  else take(answer);
  return !!answer && !answer.error;
}

/* ---- showing ---- */

function take(answer) {
  say(answer.said ?? "");
  if (!answer.conversation) return;
  const isOther = view?.id !== answer.conversation.id;
  view = answer.conversation;
  if (isOther) {
    putAddress();
    recall();
    list();
  }
  draw(isOther);
  if (isOther) recallWriting();
}

function draw(isOther = false) {
  const place = window.scrollY;
  const wasAtEnd = isAtEnd();
  const pressed = part("turns").contains(document.activeElement) ? sameAs(document.activeElement) : "";
  root.dataset.state = view ? "talk" : "new";
  if (view) root.dataset.conversation = view.id; else delete root.dataset.conversation;
  part("head").hidden = !view;
  part("title").textContent = view?.title ?? "";
  if (isOther && view) putSettings(view.settings);
  part("turns").replaceChildren();
  const exchanges = view?.exchanges ?? [];
  exchanges.forEach((exchange, at) => drawExchange(part("turns"), exchange, at === exchanges.length - 1));
  if (!view) make("p", part("turns"), hint(), "quiet hint-of-turns");
  growing = new Map(answers().filter((answer) => answer.is_growing).map((answer) => [answer.id, answer.size]));
  shownAt = performance.now();
  drawButtons();
  if (pressed) [...part("turns").querySelectorAll("button")].find((node) => sameAs(node) === pressed)?.focus({ preventScroll: true });
  if (isOther || wasAtEnd) toEnd(); else window.scrollTo({ top: place });
  mark();
  if (growing.size) hear();
}

const sameAs = (node) => JSON.stringify({ ...node.dataset }); // a button is drawn again, with the same facts
const answers = () => (view?.exchanges ?? []).flatMap((exchange) => exchange.answers);
const isAtEnd = () => window.innerHeight + window.scrollY > document.documentElement.scrollHeight - NEAR_PX;
const toEnd = () => view && element.checkVisibility() && window.scrollTo({ top: document.documentElement.scrollHeight });

function drawButtons() {
  root.classList.toggle("is-growing", growing.size > 0);
  element.querySelector('[data-do="stop"]').hidden = !growing.size;
  element.querySelector('[data-do="send"]').disabled = growing.size > 0;
}

/* ---- hearing ---- */

async function hear() {
  if (isHearing) return;
  isHearing = true;
  try {
    while (growing.size) {
      const asked = view.id;
      const answer = await call("hear", { answers: [...growing].map(([id, known]) => ({ id, known })) });
      if (view?.id !== asked) continue;
      if (!answer?.answers) {
        say(answer?.error ?? AWAY, "is-bad");
        if (answer?.error) { growing = new Map(); break; } // deleted meanwhile
        await new Promise((done) => setTimeout(done, AGAIN_MS));
        continue;
      }
      const wasAtEnd = isAtEnd();
      for (const each of answer.answers) {
        const node = element.querySelector(`[data-answer="${each.id}"]`);
        if (!growing.has(each.id) || !node) continue;
        paintAnswer(node, each);
        if (each.is_growing) growing.set(each.id, each.size); else growing.delete(each.id);
      }
      if (wasAtEnd) toEnd();
      if (!growing.size) await settle(asked);
      else await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  } finally { isHearing = false; }
}

/* All answers have ended: show what can be done with them. */
async function settle(id) {
  drawButtons();
  const answer = await call("show", { id });
  if (answer?.conversation && view?.id === id) take({ ...answer, said: part("said").textContent });
  list();
}

/* ---- what the person wants ---- */

function wish() {
  const number = (name) => Number(element.querySelector(`[data-number="${name}"]`).value);
  const names = ["temperature", "top_p", "top_k", "max_new_tokens", "seed"];
  return {
    checkpoints: [part("first").value, part("second").value].filter(Boolean),
    system: part("system").value,
    is_blind: part("blind").checked,
    sampling: Object.fromEntries(names.map((name) => [name, number(name)])),
  };
}

function putSettings({ checkpoints, system, is_blind: isBlind, sampling }) {
  offer(part("first"), policies, checkpoints[0]);
  offer(part("second"), policies, checkpoints[1] ?? "");
  part("system").value = system;
  part("blind").checked = isBlind;
  for (const [name, value] of Object.entries(sampling)) element.querySelector(`[data-number="${name}"]`).value = value;
  summarise();
}

const hint = () => `Say something. ${part("second").value ? HINT_OF_TWO : HINT_OF_ONE}`;

function summarise() {
  const { system, sampling } = wish();
  part("summary").textContent = `${system.trim() ? "with a system prompt · " : ""}temperature ${sampling.temperature} · ${sampling.max_new_tokens} tokens · seed ${sampling.seed}`;
  part("blind").closest("label").hidden = !part("second").value;
  const told = part("turns").querySelector(".hint-of-turns");
  if (told) told.textContent = hint();
}

function offer(select, names, chosen) {
  const all = chosen && !names.includes(chosen) ? [chosen, ...names] : names;
  const options = select === part("second") ? ["", ...all] : all;
  select.replaceChildren(...options.map((name) => new Option(name || "one answer only", name)));
  select.value = chosen ?? options[0] ?? "";
}

async function send() {
  const text = part("text").value;
  if (growing.size || !text.trim()) return;
  if (!isListed) return say("The checkpoints are still being listed. Send it again in a moment.");
  const last = view?.exchanges.at(-1);
  if (last && !last.answers.length) return say("The last turn has no answer yet. Ask again, or edit it.", "is-bad");
  const button = element.querySelector('[data-do="send"]');
  button.disabled = true;
  say("");
  const facts = view ? { conversation: view.id, parent: last.chosen } : {};
  const was = view?.id ?? 0;
  const isDone = await act("say", { ...facts, text, wish: wish() });
  button.disabled = growing.size > 0;
  if (!isDone) return;
  part("text").value = "";
  keepTyped(was, "");
  keepTyped(view.id, "");
  grow();
  toEnd();
}

function keepTyped(id, text) {
  const { [id]: _, ...others } = typed.read({});
  typed.write(text ? { ...others, [id]: text } : others);
}

function recall() {
  part("text").value = typed.read({})[view?.id ?? 0] ?? "";
  grow();
}

/* The field is as high as its text. */
function grow() {
  part("text").style.height = "auto";
  part("text").style.height = `${Math.min(part("text").scrollHeight + 2, window.innerHeight / 3)}px`;
}

function vote(command, ids) {
  const [outcome, strength] = VOCABULARY.judgements[command] ?? [];
  const elapsed = Math.min(Math.round(performance.now() - shownAt), 86400000);
  if (outcome) judge(ids, { outcome, strength, uuid: uuid(), elapsed_ms: elapsed });
}

/* Record a vote; then, not before, ask what the reward model says. */
async function judge(ids, press) {
  const pair = ids.split(" ").map(Number);
  if (!(await act("vote", { ids: pair, ...press })) || scores.has(ids)) return;
  const answer = await call("score", { ids: pair });
  const words = answer?.said || answer?.error;
  if (!words) return;
  scores.set(ids, words);
  if (pair.every((id) => answers().some((each) => each.id === id)) && !growing.size) draw();
}

/* Show an answer token by token, or hide that. */
async function toggleTokens(id) {
  const paint = (markup) => {
    if (markup === undefined) tokens.delete(id); else tokens.set(id, markup);
    paintTokens(element.querySelector(`[data-answer="${id}"]`));
  };
  if (tokens.has(id)) return paint();
  const waiting = '<p class="quiet">Reading the answer; the first time, its model has to be loaded.</p>';
  paint(waiting);
  const answer = await call("tokens", { id });
  if (tokens.get(id) !== waiting) return; // hidden meanwhile
  paint(answer?.markup);
  if (!answer?.markup) say(answer?.error ?? AWAY, "is-bad");
}

async function save(form) {
  const answer = await call("export", { id: view.id, form });
  if (!answer?.name) return say(answer?.error ?? AWAY, "is-bad");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([answer.text], { type: "application/json" }));
  link.download = answer.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`Saved as ${answer.name}.`);
}

const textOf = (id) => [...answers(), ...view.exchanges.map((exchange) => exchange.asked)].find((turn) => turn.id === id)?.text ?? "";
const ACTIONS = {
  send,
  new: () => begin(),
  stop: () => call("stop", { ids: [...growing.keys()] }),
  rename: () => openWriter("rename", view.id, view.title),
  remove: () => part("sure").showModal(),
  sure: remove,
  json: () => save("json"),
  jsonl: () => save("jsonl"),
  open: ({ id, attempt }) => act("open_at", { id: Number(id), attempt: attempt ? Number(attempt) : null }),
  edit: ({ id }) => openWriter("edit", Number(id), textOf(Number(id))),
  answer: ({ id }) => openWriter("answer", Number(id), textOf(Number(id))),
  ideal: ({ id }) => openWriter("ideal", Number(id), textOf(Number(id))),
  again: ({ id }) => act("again", { id: Number(id), wish: wish() }),
  continue: ({ id }) => act("go_on", { id: Number(id) }),
  fork: ({ id }) => act("fork", { id: Number(id) }),
  prompt: ({ id }) => act("add_prompt", { id: Number(id) }),
  tokens: ({ id }) => toggleTokens(Number(id)),
  vote: ({ ids, command }) => vote(command, ids),
};

async function remove() {
  part("sure").close();
  const { id } = view;
  const answer = await call("remove", { id });
  if (!answer || answer.error) return say(answer?.error ?? AWAY, "is-bad");
  keepTyped(id, "");
  forgetDrafts(id);
  begin();
  say(answer.said);
  list();
}

element.addEventListener("click", (event) => {
  const node = event.target.closest("[data-do]");
  if (!node || node.disabled) return;
  const { do: name, ...facts } = node.dataset;
  ACTIONS[name](facts);
});

function onKey(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", onKey);
  if (!element.checkVisibility() || event.isComposing || event.ctrlKey && event.key !== "Enter" || event.metaKey || event.altKey) return;
  if (part("writer").open) {
    if (event.key === "Enter" && (event.ctrlKey || writing?.kind === "rename") && !event.repeat) { event.preventDefault(); keepWriting(); }
    return;
  }
  if (element.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return growing.size ? ACTIONS.stop() : document.activeElement?.blur();
  if (event.target === part("text")) {
    if (event.key === "Enter" && !event.shiftKey && !event.repeat) { event.preventDefault(); send(); }
    return;
  }
  if (event.repeat || event.target.closest?.("input, textarea, select, button, a, summary")) return;
  const last = view?.exchanges.at(-1);
  const command = VOCABULARY.keys[event.key.toLowerCase()];
  if (last?.can_vote && VOCABULARY.judgements[command]) { event.preventDefault(); vote(command, last.answers.map((answer) => answer.id).join(" ")); }
}
document.addEventListener("keydown", onKey);
part("writer-keep").addEventListener("click", keepWriting);
part("writer-afresh").addEventListener("click", writeAfresh);
part("writer-text").addEventListener("input", () => writing && keepDraft(writing, part("writer-text").value));
part("writer").addEventListener("close", () => { if (!part("writer").open) { writing = null; lastWriting.write(null); } });
part("text").addEventListener("input", () => { keepTyped(view?.id ?? 0, part("text").value); grow(); });
part("search").addEventListener("input", () => { clearTimeout(searched); searched = setTimeout(list, 200); });
element.querySelector(".talk").addEventListener("change", summarise);

/* ---- the list, the address ---- */

async function list() {
  const search = part("search").value;
  const answer = await call("look", { search });
  if (!answer?.conversations) return say(answer?.error ?? AWAY, "is-bad");
  if (part("search").value !== search) return; // another search is on its way
  policies = answer.policies;
  isListed = true;
  part("list").replaceChildren(...answer.conversations.map(({ id, title, about }) => {
    const link = document.createElement("a");
    link.href = `#chat/${id}`;
    link.dataset.id = id;
    make("b", link, title || "Nothing said yet");
    make("span", link, about, "quiet");
    return link;
  }));
  if (!answer.conversations.length) make("p", part("list"), search ? "Nothing contains this text." : "What you talk about here stays, and is listed here.", "quiet");
  const isEmpty = !policies.length && !answer.conversations.length && !search;
  part("none").hidden = !isEmpty;
  element.querySelector(".chats").hidden = part("talk").hidden = isEmpty;
  mark();
}

function mark() {
  for (const link of part("list").querySelectorAll("a")) {
    if (Number(link.dataset.id) === view?.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
}

const isHere = () => window.studio.address().split("/")[0] === "chat";
const asked = () => Number(window.studio.address().split("/")[1]) || null;

function putAddress() {
  if (isHere() && asked() !== view.id) history.replaceState(null, "", `#chat/${view.id}`);
}

/* A new conversation: nothing is stored until something is said. */
function begin() {
  view = null;
  growing = new Map();
  if (isHere()) history.replaceState(null, "", "#chat");
  offer(part("first"), policies, part("first").value || policies[0]);
  offer(part("second"), policies, part("second").value);
  summarise();
  say("");
  recall();
  draw();
  part("text").focus({ preventScroll: true });
}

/* The page was opened, or its address has changed. */
async function open() {
  const id = asked();
  await list();
  if (id && id !== view?.id) {
    if (await act("show", { id })) return;
    const why = part("said").textContent;
    begin();
    say(why, "is-bad");
  } else if (!view && !isLooked) begin();
  else if (view) { putAddress(); await settle(view.id); }
  isLooked = true;
}

addEventListener("hashchange", () => { if (element.isConnected && element.checkVisibility() && isHere() && asked() && asked() !== view?.id) open(); });
if (window.innerWidth < 720) part("drawer").open = false;
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) open();
}).observe(element.parentElement);

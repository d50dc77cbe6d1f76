/* Draws a conversation on the page Chat: each turn of the person, the attempt at an answer, and what can be done with them.
   In one scope with chat.js. All texts become text nodes, or markup that the studio has checked (draw.js). */
const keyFor = (command) => Object.keys(VOCABULARY.keys).find((key) => VOCABULARY.keys[key] === command);

function button(parent, act, words, facts = {}, key = "") {
  const node = make("button", parent, "", "small");
  node.type = "button";
  node.dataset.do = act;
  Object.assign(node.dataset, facts);
  if (key) make("kbd", node, key);
  make("span", node, words);
  return node;
}

/* Buttons to the one before and after of several; `open(place)` gives the facts of the button. */
function steps(parent, what, at, num, open) {
  if (num < 2) return;
  const node = make("span", parent, "", "steps");
  for (const [words, to, label] of [["‹", at - 1, "before"], ["", at], ["›", at + 1, "after"]]) {
    if (!words) { make("span", node, `${what} ${at + 1} of ${num}`, "num"); continue; }
    const step = button(node, "open", words, to >= 0 && to < num ? open(to) : {});
    step.disabled = to < 0 || to >= num;
    step.setAttribute("aria-label", `${what} ${label}`);
  }
}

function drawExchange(parent, exchange, isLast) {
  const node = make("article", parent, "", "exchange");
  drawAsked(make("div", node, "", "asked"), exchange);
  const sides = make("div", node, "", "sides");
  sides.dataset.num = exchange.answers.length;
  exchange.answers.forEach((answer, place) => drawAnswer(sides, exchange, answer, place, isLast));
  if (exchange.answers.length === 2) drawVote(make("div", node, "", "which"), exchange, isLast);
}

function drawAsked(node, exchange) {
  const { id, text, drawn } = exchange.asked;
  drawText(make("div", node, "", "body"), text, drawn);
  const about = make("div", node, "", "about");
  button(about, "edit", "Edit", { id });
  button(about, "again", "Again", { id }).title = "Another attempt at an answer, with the next seed";
  button(about, "prompt", "Add to prompts", { id });
  const { versions, attempts, attempt } = exchange;
  steps(about, "version", versions.indexOf(id), versions.length, (to) => ({ id: versions[to] }));
  steps(about, "attempt", attempts.indexOf(attempt), attempts.length, (to) => ({ id, attempt: attempts[to] }));
}

function drawAnswer(parent, exchange, answer, place, isLast) {
  const node = make("section", parent, "", "answer");
  node.dataset.answer = answer.id;
  const isPair = exchange.answers.length === 2;
  const head = make("h4", node, isPair ? `${place + 1} · ${answer.name || "hidden until the vote"}` : answer.name);
  if (isPair && isLast) {
    const use = button(head, "open", exchange.chosen === answer.id ? "goes on from here" : "go on from here", { id: answer.id });
    use.setAttribute("aria-pressed", exchange.chosen === answer.id);
  }
  make("div", node, "", "body");
  make("p", node, "", "ending quiet");
  const about = make("div", node, "", "about");
  if (answer.can_go_on) button(about, "continue", "Continue", { id: answer.id });
  if (!answer.is_growing) {
    button(about, "answer", "Edit", { id: answer.id }).title = "Write it yourself, and go on from there";
    button(about, "ideal", "This is how it should be", { id: answer.id }).title = "Makes a demonstration of it, as it is or as you correct it";
    button(about, "fork", "Fork", { id: answer.id }).title = "Go on in a copy of the conversation up to here";
  }
  if (exchange.verdict && isPair) {
    button(about, "tokens", "Tokens", { id: answer.id }).title = "How likely each token is under its checkpoint, and under the other one";
    make("div", node, "", "token-view").hidden = true;
    paintTokens(node);
  }
  paintAnswer(node, answer);
}

/* Show an answer's tokens where they are wanted; their markup comes escaped from the studio. */
function paintTokens(node) {
  const place = node?.querySelector(".token-view");
  if (!place) return;
  const markup = tokens.get(Number(node.dataset.answer));
  place.hidden = markup === undefined;
  place.innerHTML = markup ?? "";
  node.querySelector('[data-do="tokens"]').setAttribute("aria-expanded", markup !== undefined);
}

/* Draw what there is of an answer; called again and again while it grows. */
function paintAnswer(node, answer) {
  const body = node.querySelector(".body");
  if (answer.text) drawText(body, answer.text, answer.drawn);
  else body.replaceChildren(), make("p", body, answer.is_growing ? "Waiting for the model …" : "An empty answer.", "quiet");
  node.classList.toggle("is-growing", answer.is_growing);
  const ending = node.querySelector(".ending");
  ending.textContent = answer.ending;
  ending.classList.toggle("is-bad", answer.is_failed);
}

/* Keys vote on the last pair only. */
function drawVote(node, exchange, isLast) {
  const { can_vote: canVote, why_no_vote: whyNot, verdict } = exchange;
  if (whyNot && !verdict) make("span", node, whyNot, "quiet");
  if (!canVote && !verdict) return;
  const ids = exchange.answers.map((answer) => answer.id).join(" ");
  make("span", node, verdict ? `Recorded: ${verdict.said}.` : "Which is better?", "question");
  for (const [outcome, { command, words }] of Object.entries(VOCABULARY.plain)) {
    const press = button(node, "vote", words, { ids, command }, isLast ? keyFor(command) : "");
    press.setAttribute("aria-pressed", verdict?.outcome === outcome);
  }
  if (verdict && scores.has(ids)) make("span", node, scores.get(ids), "score");
  if (verdict || !isLast) return;
  const hint = make("span", node, "", "quiet hint");
  make("kbd", hint, "Esc");
  hint.append(" leaves the message, then the keys vote");
}

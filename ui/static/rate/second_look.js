/* The question after a second look at a vote that a reward model contradicted. It takes the screen until it is answered; the
   next item waits behind it. In one scope with rate.js. */
let question = null; // what is asked; null while items are judged
const answerKey = (name) => Object.keys(VOCABULARY.settlements).find((key) => VOCABULARY.settlements[key] === name);
const shown = () => question ?? item(); // whose texts are on the screen

/* Take what the studio asks; a text that is being written goes first. Returns whether that changes the screen. */
function takeQuestion() {
  const before = question?.id;
  if (!part("writer").open) question = state.question ?? null;
  if (question) drafts.learn(question.id, question.drafts);
  return before !== question?.id;
}

function showQuestion() {
  part("sides").hidden = false;
  part("cards").hidden = true;
  part("facts").replaceChildren();
  for (const [name, words, more] of question.facts) {
    const row = make("div", part("facts"));
    make("dt", row, name);
    make("small", make("dd", row, words), more);
  }
  for (const button of part("second-look").querySelectorAll("[data-settle]")) button.hidden = !question.offered.includes(button.dataset.settle);
  for (const node of part("sides").querySelectorAll(".attributes, .marks")) { node.replaceChildren(); node.hidden = node.matches(".attributes"); }
  part("noted").textContent = "";
  paint();
  window.scrollTo({ top: 0 });
  root.dataset.showing = question.id;
  settle();
  recallWriting();
}

/* The answer is given; a gap opens the guideline first. */
function answerQuestion(name) {
  if (!question || isDeaf || isUndoing) return;
  if (name === "gap") openWriter("gap");
  else sendAnswer(name);
}

function sendAnswer(outcome, facts = {}) {
  say("Saving …");
  studio.send("settle", { uuid: uuid(), showing: question.id, outcome, ...facts });
  question = state.question = null;
  show();
}

function remindOfQuestion() {
  const keys = Object.keys(VOCABULARY.settlements).filter((key) => key !== "escape" && question.offered.includes(VOCABULARY.settlements[key]));
  say(`This is about an earlier vote, so nothing was judged. Press ${keys.join(", ")}, or Esc to decide later.`, "is-bad");
}

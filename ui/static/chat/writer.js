/* The dialog of the page Chat in which a text is written: an edit, an ideal answer, a title. In one scope with chat.js. */
const WRITER = {
  edit: ["Say it otherwise", "What was said before stays, as another version.", "Ask with this"],
  answer: ["Write the answer yourself", "The conversation goes on from your text; the model's answer stays, as another attempt.", "Go on from this"],
  ideal: ["This is how it should be", "It becomes a demonstration for SFT; where you change the answer, it is also preferred to it.", "Save demonstration"],
  rename: ["Title of the conversation", "", "Save title"],
};
let writing = null; // what the open dialog is for

function openWriter(kind, id, text) {
  writing = { kind, id, text, uuid: uuid() };
  const [title, words, keep] = WRITER[kind];
  part("writer-title").textContent = title;
  part("writer-words").textContent = words;
  part("writer-keep").textContent = keep;
  part("writer-said").textContent = "";
  part("writer-text").value = text;
  part("writer-text").rows = kind === "rename" ? 2 : 10;
  part("writer").showModal();
  part("writer-text").focus();
}

async function keepWriting() {
  if (!writing) return;
  const { kind, id, uuid: press } = writing;
  const text = part("writer-text").value;
  const sent = { id, text, ...(kind === "ideal" ? { uuid: press } : { wish: wish() }) };
  const answer = kind === "rename" ? await call("rename", { id, title: text }) : await call(kind === "ideal" ? "demonstrate" : "edit", sent);
  if (!answer || answer.error) {
    part("writer-said").textContent = answer?.error ?? AWAY;
    part("writer-said").className = "said is-bad";
    return;
  }
  part("writer").close();
  take(answer);
  if (kind === "rename") list();
}

/* The dialog of the page Chat in which a text is written: an edit, an ideal answer, a title. What is typed there stays in the tab
   until it is saved, through a reload as well, which opens the dialog again. In one scope with chat.js. */
const WRITER = {
  edit: ["Say it otherwise", "What was said before stays, as another version.", "Ask with this"],
  answer: ["Write the answer yourself", "The conversation goes on from your text; the model's answer stays, as another attempt.", "Go on from this"],
  ideal: ["This is how it should be", "It becomes a demonstration for SFT; where you change the answer, it is also preferred to it.", "Save demonstration"],
  rename: ["Title of the conversation", "", "Save title"],
};
const drafts = window.studio.tab(`studio-chat-drafts ${workspaceName}`); // text by what it is for
const lastWriting = window.studio.tab(`studio-chat-writing ${workspaceName}`); // what the open dialog is for, for the page after a reload
let writing = null; // what the open dialog is for

const nameOf = ({ conversation, kind, id }) => `${conversation}/${kind}/${id}`;

function keepDraft(about, text) {
  const { [nameOf(about)]: _, ...others } = drafts.read({});
  drafts.write(text === about.text ? others : { ...others, [nameOf(about)]: text });
}

/* A conversation is gone. */
function forgetDrafts(conversation) {
  drafts.write(Object.fromEntries(Object.entries(drafts.read({})).filter(([name]) => !name.startsWith(`${conversation}/`))));
}

function openWriter(kind, id, text) {
  writing = { kind, id, text, conversation: view.id, uuid: uuid() };
  lastWriting.write({ kind, id, conversation: view.id });
  const draft = drafts.read({})[nameOf(writing)];
  const [title, words, keep] = WRITER[kind];
  part("writer-title").textContent = title;
  part("writer-words").textContent = words;
  part("writer-keep").textContent = keep;
  part("writer-said").textContent = draft === undefined ? "" : "Your draft is back.";
  part("writer-said").className = "said";
  part("writer-afresh").hidden = draft === undefined;
  part("writer-text").value = draft ?? text;
  part("writer-text").rows = kind === "rename" ? 2 : 10;
  part("writer").showModal();
  part("writer-text").focus();
}

/* Begin again with the text as it stands in the conversation. */
function writeAfresh() {
  keepDraft(writing, writing.text);
  part("writer-text").value = writing.text;
  part("writer-said").textContent = "";
  part("writer-afresh").hidden = true;
  part("writer-text").focus();
}

/* After a reload: open the dialog that was open. */
function recallWriting() {
  const was = lastWriting.read(null);
  if (!was || was.conversation !== view.id || part("writer").open) return;
  const isThere = was.kind === "rename" || [...answers(), ...view.exchanges.map((exchange) => exchange.asked)].some((turn) => turn.id === was.id);
  if (isThere) ACTIONS[was.kind]({ id: was.id }); else lastWriting.write(null);
}

async function keepWriting() {
  if (!writing) return;
  const about = writing;
  const { kind, id, uuid: press } = about;
  const text = part("writer-text").value;
  const sent = { id, text, ...(kind === "ideal" ? { uuid: press } : { wish: wish() }) };
  const answer = kind === "rename" ? await call("rename", { id, title: text }) : await call(kind === "ideal" ? "demonstrate" : "edit", sent);
  if (!answer || answer.error) {
    part("writer-said").textContent = answer?.error ?? AWAY;
    part("writer-said").className = "said is-bad";
    return;
  }
  keepDraft(about, about.text);
  part("writer").close();
  take(answer);
  if (kind === "rename") list();
}

/* The text field of the rating page: a note, an ideal answer, a demonstration. What is typed is kept as a draft in the
   workspace until it is saved. In one scope with rate.js. */

const WRITER = {
  note: ["Note on this item", "It is recorded with your judgement.", "Keep note"],
  edit: ["The ideal answer", "It becomes a demonstration for SFT, and is preferred to the answer it was made from. The pair stays open.", "Keep ideal answer"],
  demonstrate: ["A demonstration for this prompt", "What should the assistant have said? SFT learns from it.", "Keep demonstration"],
};

async function openWriter(kind, position = null) {
  writing = { kind, position, showing: item().id, from: performance.now(), uuid: uuid() };
  const [title, words, button] = WRITER[kind];
  part("writer-title").textContent = kind === "edit" ? `${title}, from answer ${position + 1}` : title;
  part("writer-words").textContent = words;
  part("writer-keep").textContent = button;
  write(part("writer-prompt"), item().messages.at(-1).content, item().drawn.messages.at(-1));
  const text = part("writer-text");
  text.value = kind === "note" ? (unkept.id === item().id ? unkept.note : remarks.note) : kind === "edit" ? item().texts[position] : "";
  text.setAttribute("aria-label", title);
  part("writer-said").textContent = "";
  part("writer").showModal();
  text.focus();
  if (kind === "note") return;
  const mine = writing;
  const before = text.value;
  const draft = await server.draft({ kind, position, showing: mine.showing }).catch(() => null);
  if (draft?.text && writing === mine && text.value === before) { text.value = draft.text; part("writer-said").textContent = "Your draft is back."; }
}

let draftTimer = 0;
let unkept = {}; // a note that was typed and not kept, and its item
function keepDraft() {
  clearTimeout(draftTimer);
  if (!writing) return;
  if (writing.kind === "note") { unkept = { id: item().id, note: part("writer-text").value }; return; }
  const { kind, position, showing } = writing;
  draftTimer = setTimeout(() => server.draft({ kind, position, showing, text: part("writer-text").value }).catch(() => null), 500);
}

async function keepWriting() {
  const text = part("writer-text").value;
  if (!writing) return;
  if (writing.kind === "note") { remarks.note = text.trim().slice(0, 5000); unkept = {}; part("writer").close(); return drawRemarks(); }
  const isSame = writing.kind === "edit" && text.trim() === item().texts[writing.position].trim();
  if (!text.trim() || isSame) {
    part("writer-said").textContent = isSame ? "Nothing was changed yet." : "It is empty.";
    return;
  }
  clearTimeout(draftTimer);
  const { kind, position, showing, from, uuid: key } = writing;
  const elapsed = Math.min(Math.round(performance.now() - from), 86400000);
  part("writer").close();
  say("Saving …");
  studio.send("write", { uuid: key, kind, position, showing, text, elapsed_ms: elapsed });
}

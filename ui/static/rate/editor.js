/* The text field of the rating page: a note, an ideal answer, a demonstration. Text is kept as a draft
   until it is recorded, through a reload as well. In one scope with rate.js. */

const WRITER = {
  note: ["Note on this item", "It is recorded with your judgement.", "Save note"],
  edit: ["The ideal answer", "It becomes a demonstration for SFT, and is preferred to the answer it was made from. The pair stays open.", "Save ideal answer"],
  gap: ["The guideline", "Complete the last line: what should it say about pairs like this one? It is in force from then on; left as it is, only the gap is noted.", "Save the guideline"],
  demonstrate: ["A demonstration for this prompt", "What should the assistant have said? SFT learns from it.", "Save demonstration"],
};
const lastWriting = window.studio.tab("studio-writing"); // what is being written, for the page after a reload
const bare = (text) => text.replace(/\r\n?|[\u0085\u2028\u2029]/g, "\n").replace(/^[\s\u200b\u2060]+|[\s\u200b\u2060]+$/g, "");

function openWriter(kind, position = null) {
  writing = { kind, position, showing: shown().id, from: performance.now(), uuid: uuid() };
  const [title, words, button] = WRITER[kind];
  part("writer-title").textContent = kind === "edit" ? `${title}, from answer ${position + 1}` : title;
  part("writer-words").textContent = words;
  part("writer-keep").textContent = button;
  write(part("writer-prompt"), shown().messages.at(-1).content, shown().drawn.messages.at(-1));
  const text = part("writer-text");
  const draft = drafts.read(writing);
  text.value = kind === "note" ? draft ?? remarks.note : kind === "gap" ? draft || question.guideline : draft || (kind === "edit" ? item().texts[position] : "");
  text.setAttribute("aria-label", title);
  sayInWriter(draft ? "Your draft is back." : "");
  if (draft) checkLength();
  isBack = false;
  lastWriting.write({ kind, position, showing: writing.showing });
  part("writer").showModal();
  text.focus();
  if (kind === "gap" && !draft) text.setSelectionRange(text.value.lastIndexOf("\n") + 1, text.value.length); // the line to complete
}

/* After a reload: the text that was being written on this item is kept, and further typing must not judge. */
function recallWriting() {
  const was = lastWriting.read(null);
  isBack = !!was && !part("writer").open && (!!question || was.showing === item().id);
  if (!isBack) return;
  if (question && was.showing !== question.id) return say("You were writing; your text is kept. Press Esc to answer this question first.", "is-bad");
  const what = { note: "a note", demonstrate: "a demonstration", gap: "a line for the guideline" }[was.kind] ?? `the ideal answer from answer ${was.position + 1}`;
  const which = was.kind === "edit" ? ` then ${was.position + 1}` : "";
  say(`You were writing ${what}; it is kept. Press ${was.kind === "gap" ? answerKey("gap") : keyOf(was.kind)}${which} to go on with it, Esc to ${question ? "answer" : "judge"}.`, "is-bad");
}

function forgetWriting() {
  isBack = false;
  lastWriting.write(null);
}

function closeWriter() {
  writing = null;
  forgetWriting();
  drafts.flush();
  if (takeQuestion()) show(); // it waited for the text
}

function sayInWriter(text, kind = "") {
  part("writer-said").textContent = text;
  part("writer-said").className = `said ${kind}`;
}

function keepDraft() {
  if (!writing) return;
  const isKept = drafts.write(writing, part("writer-text").value);
  if (!checkLength()) sayInWriter(isKept ? "" : "This is too long to be kept in the tab; save it before you reload the page.", isKept ? "" : "is-bad");
}

/* Return whether it is too long; if so, say what to do. */
function checkLength() {
  const isNote = writing.kind === "note";
  const most = LONGEST[writing.kind] ?? LONGEST.text;
  const text = isNote ? part("writer-text").value.trim() : part("writer-text").value;
  const size = text.length > most ? [...text].length : text.length;
  if (size <= most) return false;
  const what = { note: "A note", gap: "The guideline" }[writing.kind] ?? "An answer";
  sayInWriter(`${what} has at most ${most.toLocaleString("en")} characters; this one has ${size.toLocaleString("en")}. Shorten it by ${(size - most).toLocaleString("en")}.`, "is-bad");
  return true;
}

function keepWriting() {
  if (!writing) return;
  const text = part("writer-text").value;
  if (checkLength()) return;
  if (text.toWellFormed && text !== text.toWellFormed()) {
    part("writer-text").value = text.toWellFormed();
    keepDraft();
    return sayInWriter("The text held half a character, which cannot be stored; it is shown as \ufffd now. Check it and save it again.", "is-bad");
  }
  if (writing.kind === "note") {
    remarks.note = text.trim();
    drafts.forget(writing);
    forgetWriting();
    part("writer").close();
    return keepRemarks();
  }
  if (writing.kind === "gap") {
    forgetWriting();
    part("writer").close();
    return sendAnswer("gap", { text });
  }
  const isSame = writing.kind === "edit" && bare(text) === bare(item().texts[writing.position]);
  if (!bare(text) || isSame) return sayInWriter(isSame ? "Nothing has been changed yet." : "The text is empty.", "is-bad");
  const { kind, position, showing, from, uuid: key } = writing;
  const elapsed = Math.min(Math.round(performance.now() - from), 86400000);
  forgetWriting();
  part("writer").close();
  say("Saving …");
  studio.send("write", { uuid: key, kind, position, showing, text, elapsed_ms: elapsed });
}

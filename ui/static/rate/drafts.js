/* Typed text that is not recorded yet, each under what it is for. It is in the tab at once,
   where any reload leaves it, and in the workspace half a second later; the tab forgets its copy when the
   workspace has it. In one scope with rate.js. */
const DRAFT_MS = 500;
const DRAFT_AGAIN_MS = 3000;
const LONGEST = { note: 5000, gap: 2000, text: 400000, draft: 1000000 }; // characters

/* `save({kind, position, showing, text})` keeps a draft in the workspace and answers. */
function draftBook(save) {
  const shelf = window.studio.tab("studio-drafts");
  const texts = new Map(); // all that this page knows
  const unsaved = new Map(Object.entries(shelf.read({}))); // not in the workspace yet: name to [about, text]
  const refused = new Map(); // refused by the workspace: name to text
  let timer = 0;
  let isSaving = false;
  const nameOf = ({ kind, showing, position }) => `${showing}/${kind}/${position ?? ""}`;
  const keep = () => shelf.write(Object.fromEntries(unsaved));
  for (const [name, [, text]] of unsaved) texts.set(name, text);

  function soon(after) {
    clearTimeout(timer);
    if ([...unsaved].some(([name, [, text]]) => refused.get(name) !== text)) timer = setTimeout(flush, after);
  }

  async function flush() {
    clearTimeout(timer);
    if (isSaving) return;
    isSaving = true;
    let isAway = false;
    try {
      for (const [name, [about, text]] of [...unsaved]) {
        if (refused.get(name) === text) continue;
        const answer = text.length > LONGEST.draft ? { error: "" } : await save({ ...about, text }).catch(() => null);
        if (answer?.kept && unsaved.get(name)?.[1] === text) unsaved.delete(name);
        else if (answer?.error !== undefined && !answer.is_kept) refused.set(name, text); // sending it again would not help
        else if (!answer?.kept) isAway = true;
      }
    } finally { isSaving = false; }
    keep();
    soon(isAway ? DRAFT_AGAIN_MS : 0);
  }

  function put(about, text, after) {
    const { kind, showing, position = null } = about;
    texts.set(nameOf(about), text);
    unsaved.set(nameOf(about), [{ kind, showing, position }, text]);
    const isKept = keep();
    soon(after);
    return isKept;
  }

  soon(DRAFT_MS);
  addEventListener("pagehide", flush);
  return {
    flush,
    read: (about) => texts.get(nameOf(about)),
    /* Return whether the tab holds it now. */
    write: (about, text) => put(about, text, DRAFT_MS),
    /* Take an item's texts from the workspace; those that this page knows are newer. */
    learn(showing, drafts) {
      for (const { kind, position, text } of drafts) {
        const name = nameOf({ kind, showing, position });
        if (!texts.has(name)) texts.set(name, text);
      }
    },
    /* Recorded, or not wanted any more. */
    forget: (about) => texts.has(nameOf(about)) && (put(about, "", 0), texts.delete(nameOf(about))),
    /* The workspace has dropped it by itself, or another text counts. */
    drop(about) { texts.delete(nameOf(about)); unsaved.delete(nameOf(about)); keep(); },
  };
}

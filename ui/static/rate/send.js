/* Talks to the studio. Presses are sent in order, each until it is answered; its uuid makes
   a repeated one a single rating. What is not answered yet is kept in the tab, through a reload as well. */
const RETRY_MS = 1000;

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/* `known()` names texts that need not be sent again; `onAnswer(answer, name, isLast)` gets each answer. */
function sender(known, onAnswer, onSilence) {
  const shelf = window.studio.tab("studio-pending-presses");
  const found = shelf.read([]);
  const pending = Array.isArray(found) ? found.filter((each) => Array.isArray(each) && server[each[0]]) : [];
  let isSending = false;
  let isLeaving = false;
  const keep = () => shelf.write(pending);

  async function call(name, data) {
    for (let tries = 0; ; tries += 1) {
      const answer = await server[name](data).catch(() => null);
      const isAnswer = answer && typeof answer === "object" && !("detail" in answer);
      if (isAnswer && !answer.is_kept) return answer;
      onSilence(answer?.error);
      await new Promise((done) => setTimeout(done, RETRY_MS));
      if (isAnswer) { tries = 0; continue; } // a full disk, a missing database: the studio is there, the press waits
      const isUp = await fetch("config").then(() => true, () => false);
      if (isUp && tries) { isLeaving = true; location.reload(); } // it is back, but as another app; kept presses are sent after the reload
    }
  }

  async function sendAll() {
    if (isSending) return;
    isSending = true;
    try {
      while (pending.length) {
        const [name, data] = pending[0];
        const answer = await call(name, { ...data, known: known() });
        pending.shift();
        keep();
        onAnswer(answer, name, !pending.length, data);
      }
    } finally { isSending = false; }
  }

  addEventListener("beforeunload", (event) => { if (pending.length && !isLeaving) event.preventDefault(); });

  return {
    call,
    send(name, data) { pending.push([name, data]); keep(); return sendAll(); },
    resend: sendAll,
    waits: () => pending.length,
    showings: () => new Set(pending.filter(([name]) => name === "record").map(([, data]) => data.showing)),
  };
}

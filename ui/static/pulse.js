/* Asks while a page is open and its tab is seen whether what it shows has changed, and has it drawn again only then: a question costs
   the server a third of a Gradio event. Runs in gr.HTML(js_on_load): `trigger` and `server` are given, PAGE and
   EVERY_MS are filled in. */
let mark = "";
setInterval(async () => {
  if (document.hidden || window.studio.address().split("/")[0] !== "PAGE") return;
  const answer = await server.mark({}).catch(() => null);
  if (!answer?.mark || answer.mark === mark) return;
  mark = answer.mark;
  trigger("submit");
}, EVERY_MS);

/* The dialog for a checkpoint's note, tags and pin: opened from the list, kept by one request, then the list is drawn again.
   Runs in gr.HTML(js_on_load): `element`, `server` and `trigger` are given. */
const part = (name) => element.querySelector(`[data-part="${name}"]`);
let name = "";

function say(text) {
  part("said").textContent = text;
  part("said").className = text ? "said is-bad" : "said";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#checkpoints button[data-checkpoint]");
  if (!button) return;
  const { checkpoint, note, tags, pinned } = button.dataset;
  name = checkpoint;
  part("title").textContent = checkpoint;
  part("note").value = note;
  part("tags").value = tags;
  part("pinned").checked = pinned === "true";
  say("");
  part("noting").showModal();
});

async function keep() {
  const wanted = { name, note: part("note").value, tags: part("tags").value, is_pinned: part("pinned").checked };
  part("keep").disabled = true;
  const answer = await server.keep(wanted).catch(() => null);
  part("keep").disabled = false;
  if (!answer || answer.error || !answer.name) return say(answer?.error ?? "The studio does not answer. Nothing was kept; try again when it is back.");
  part("noting").close();
  trigger("submit");
}

part("keep").addEventListener("click", keep);
part("noting").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
});

/* The dialog for a checkpoint's note, tags, pin, and whether its run hands it on: opened from the list, kept by one request, then the list is drawn again.
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
  const { checkpoint, note, tags, pinned, handed } = button.dataset;
  name = checkpoint;
  part("title").textContent = checkpoint;
  part("note").value = note;
  part("tags").value = tags;
  part("pinned").checked = pinned === "true";
  part("handed").checked = handed !== "no";
  part("handed").disabled = handed === "by run"; // another one is chosen at its own row
  part("by").textContent = handed === "by run" ? "(by its run; to change that, choose another of its checkpoints)" : "";
  say("");
  part("noting").showModal();
});

async function keep() {
  const wanted = { name, note: part("note").value, tags: part("tags").value, is_pinned: part("pinned").checked, is_handed_on: part("handed").checked };
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

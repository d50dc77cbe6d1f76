/* A table whose rows open in a drawer, by click and by keys. One row at a time is reached by Tab; up and down (k and j) go through the
   rows, PageUp and PageDown (p and n) through the pages, Enter opens, Esc closes. Runs in gr.HTML(js_on_load): `props` and `trigger` are
   given; ui/components/row_drawer.py fills in NAME and ADDRESS. */
const part = (name) => document.querySelector(`#NAME-${name}`);
const rows = () => [...(part("list")?.querySelectorAll("[data-row]") ?? [])];
const isOpen = () => part("drawer")?.dataset.open !== undefined;
const isShown = () => !!part("list")?.offsetParent;
let current = ""; // the row that Tab reaches
let isTyped = false; // something was typed in the drawer and is not saved
let before = ""; // what the drawer said when one of its buttons was pressed; a change is then told there
let asked = ""; // where one wanted to go when told that something is not saved
let listed = ""; // the kind of the rows
let coming = null; // where to go in the page of rows that is on its way (0 or -1), and the first row now

function mark() {
  const all = rows();
  if (all.length && !all.some((row) => row.dataset.row === current) && !isOpen()) current = all[0].dataset.row;
  const reached = all.find((row) => row.dataset.row === current) ?? all[0];
  for (const row of all) {
    row.tabIndex = row === reached ? 0 : -1;
    if (isOpen() && row.dataset.row === current) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  return reached;
}

function address(item) {
  if ("ADDRESS" && window.studio.address().split("/")[0] === "ADDRESS".split("/")[0])
    history.replaceState(null, "", `#ADDRESS${item ? `/${item}` : ""}`); // the item is a row's number, or kind/number
}

/* Whether the drawer may show something else (`to`, empty for nothing): what was typed is dropped only at the second try. */
function mayLeave(to) {
  const leaves = !isTyped || asked === `to ${to}`;
  asked = leaves ? "" : `to ${to}`;
  isTyped = !leaves;
  tell(leaves ? "" : "What you typed here is not saved. Save it, or do the same again to drop it.");
  return leaves;
}

function tell(text) {
  const drawer = part("drawer");
  let line = drawer.querySelector("[data-unsaved]");
  if (!line) {
    line = Object.assign(document.createElement("p"), { className: "notice is-bad" });
    line.dataset.unsaved = "";
    line.setAttribute("role", "status");
    drawer.prepend(line);
  }
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
  if (text) line.scrollIntoView({ block: "nearest" });
}

function open(id) {
  if (isOpen() && !mayLeave(id)) return;
  const drawer = part("drawer");
  const wasOpen = isOpen();
  const kind = part("list")?.querySelector("[data-kind]")?.dataset.kind;
  if (kind && !id.includes("/")) id = `${kind}/${id}`;
  current = id.split("/").at(-1);
  Object.assign(drawer.dataset, { open: "" });
  for (const [name, value] of Object.entries({ role: "dialog", "aria-label": "LABEL", tabindex: "-1" })) drawer.setAttribute(name, value);
  props.value = id;
  trigger("submit");
  address(id);
  mark()?.scrollIntoView({ block: "nearest" });
  if (!wasOpen) drawer.focus({ preventScroll: true });
}

function close() {
  if (leave()) mark()?.focus();
}

function leave() {
  if (!mayLeave("")) return false;
  delete part("drawer").dataset.open;
  address("");
  return true;
}

/* Go to a row: open it where the drawer is open, else give it the focus. */
function reach(row) {
  if (!row) return;
  if (isOpen()) return open(row.dataset.row);
  current = row.dataset.row;
  mark().focus();
}

function turn(name, at) {
  const button = part(name);
  if (!button || button.disabled) return;
  coming = { at, before: rows()[0]?.dataset.row };
  button.click();
}

function step(by) {
  const all = rows();
  const at = all.findIndex((row) => row.dataset.row === current) + by;
  if (at >= 0 && at < all.length) reach(all[at]);
  else if (by > 0) turn("older", 0);
  else turn("newer", -1);
}

const KEYS = {
  ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1),
  PageDown: () => turn("older", 0), n: () => turn("older", 0), PageUp: () => turn("newer", 0), p: () => turn("newer", 0),
  Home: () => reach(rows()[0]), End: () => reach(rows().at(-1)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || !isShown()) return;
  const { target, key } = event;
  const isField = !!target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (key === "Escape" && isOpen() && target.getAttribute?.("aria-expanded") !== "true") return close();
  const isHere = target.closest("#NAME-list, #NAME-drawer") || (isOpen() && target === document.body);
  if (isField || !isHere) return;
  const row = target.closest("[data-row]");
  const does = key === "Enter" && row ? () => open(row.dataset.row) : KEYS[key];
  if (!does) return;
  event.preventDefault();
  does();
});

document.addEventListener("input", (event) => {
  if (!event.target.closest?.("#NAME-drawer :is(textarea, input):not([role=listbox])")) return;
  isTyped = true;
  asked = "";
});

document.addEventListener("click", (event) => {
  if (event.target.closest?.("#NAME-drawer button:not([data-step], [data-close])")) before = part("detail").textContent;
  const row = event.target.closest?.("#NAME-list [data-row]");
  if (row) open(row.dataset.row);
  else if (event.target.closest?.("#NAME-drawer [data-close]")) close();
  else {
    const by = event.target.closest?.("#NAME-drawer [data-step]");
    if (by) step(Number(by.dataset.step));
  }
});

/* Rows come from the server: a page that was turned to, or the same one again with what was changed. */
function redrawn() {
  if (before && part("detail").textContent !== before) {
    before = "";
    isTyped = false;
    tell("");
  }
  const kind = part("list").querySelector("[data-kind]")?.dataset.kind ?? listed;
  if (listed && kind !== listed && isOpen()) leave(); // what was open is not among these rows
  listed = kind;
  const shown = part("drawer")?.querySelector("[data-shown]")?.dataset.shown;
  if (coming && rows().length && rows()[0].dataset.row !== coming.before) {
    const row = rows().at(coming.at);
    coming = null;
    reach(row);
  } else if (isOpen() && shown && rows().some((row) => row.dataset.row === shown)) current = shown;
  mark();
}

function watch() {
  if (!part("list") || !part("drawer")) return setTimeout(watch, 50);
  // Gradio changes what is there into what comes: a row may become another one.
  const changes = { childList: true, subtree: true, attributeFilter: ["data-row", "data-shown", "data-kind"] };
  for (const name of ["list", "drawer"]) new MutationObserver(redrawn).observe(part(name), changes);
  mark();
}
watch();

/* An address that names a row opens it. */
async function follow() {
  const number = "ADDRESS" && window.studio.address().match(new RegExp("^ADDRESS/((?:[a-z]+/)?\\d{1,19})$"))?.[1];
  if (!number) return;
  while (!part("drawer") || !part("list")) await new Promise((done) => setTimeout(done, 50));
  open(number);
}
addEventListener("hashchange", follow);
follow();

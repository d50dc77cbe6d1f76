/* A judgement's note, flags, scales and half-made ranking. They are a draft until it is recorded, and return when it is
   undone. In one scope with rate.js. */
const FLAGS = VOCABULARY.flags;
const remarksOf = (showing) => ({ kind: "remarks", showing });

function recallRemarks() {
  let kept = null;
  try { kept = JSON.parse(drafts.read(remarksOf(item().id)) || "null"); } catch { /* no draft of ours */ }
  remarks = { note: "", flags: {}, attributes: {}, rungs: [], ...structuredClone(item().remarks ?? {}), ...kept };
}

/* Called when they changed. */
function keepRemarks() {
  drafts.write(remarksOf(item().id), JSON.stringify(remarks));
  drawRemarks();
}

/* Keep a half-made ranking, too. */
function keepRungs(rungs) {
  if (JSON.stringify(rungs) === JSON.stringify(remarks.rungs)) return;
  remarks.rungs = structuredClone(rungs);
  drafts.write(remarksOf(item().id), JSON.stringify(remarks));
}

/* Recorded: the workspace keeps no draft of them. */
function dropRemarks(showing) {
  drafts.drop(remarksOf(showing));
  drafts.drop({ kind: "note", showing });
}

function drawRemarks() {
  articles().forEach((article, position) => {
    article.querySelector(".marks").replaceChildren(...FLAGS.filter((flag) => remarks.flags[flag]?.includes(position)).map((flag) => Object.assign(document.createElement("span"), { className: "tag", textContent: flag })));
    drawAttributes(article.querySelector(".attributes"), position);
  });
  part("noted").textContent = remarks.note ? `Note: ${remarks.note}` : "";
  element.querySelector('[data-press="attributes"]').setAttribute("aria-pressed", asksAttributes());
  element.querySelector('[data-press="together"]').setAttribute("aria-pressed", isTogether);
}

const asksAttributes = () => hasAttributes || !!state.asks_attributes || Object.keys(item()?.remarks?.attributes ?? {}).length > 0;

function drawAttributes(node, position) {
  node.hidden = !asksAttributes();
  if (node.hidden) return node.replaceChildren();
  if (node.dataset.for === String(item().id)) return;
  node.dataset.for = item().id;
  node.replaceChildren();
  for (const name of VOCABULARY.attributes) {
    const field = make("fieldset", node);
    make("legend", field, name);
    for (let value = 1; value <= 7; value += 1) {
      const label = make("label", field);
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: `${name}-${position}`, value, checked: remarks.attributes[name]?.[position] === value });
      radio.dataset.attribute = name;
      label.append(radio, String(value));
    }
  }
}

function onAttribute(event) {
  const name = event.target.dataset?.attribute;
  if (!name) return;
  const position = Number(event.target.closest("[data-side]").dataset.side);
  remarks.attributes[name] ??= item().texts.map(() => null);
  remarks.attributes[name][position] = Number(event.target.value);
  if (!event.target.matches(":focus-visible")) event.target.blur(); // after a click the keys still judge
  keepRemarks();
}

/* On a scale a digit chooses its number, Escape goes back to judging. */
function onAttributeKey(event, key) {
  const field = event.target.closest("fieldset");
  if (key === "escape") return event.target.blur();
  if (!/^[1-7]$/.test(key)) { if (KEYS[key]) say("Digits set the scale now; Esc goes back to judging."); return; }
  event.preventDefault();
  const radio = field.querySelector(`[value="${key}"]`);
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  field.nextElementSibling?.querySelector("input")?.focus();
}

function flag(name, position) {
  const at = remarks.flags[name] ?? [];
  remarks.flags[name] = at.includes(position) ? at.filter((each) => each !== position) : [...at, position];
  say(`${at.includes(position) ? "No longer flagged" : "Flagged"} ${name}: answer ${position + 1}. It is recorded with your judgement.`);
  keepRemarks();
}

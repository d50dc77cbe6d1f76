/* Ranking three or more answers: a ladder of rungs, best first, each with one answer or several that tie; answers are put
   on it by their number, by a press, or by dragging. Calls `onRanked` after each change. */
const DRAG_PX = 6; // a press that moves less is a click

function ladder(node, onRanked) {
  let count = 0;
  let rungs = []; // lists of screen positions, best first
  let isTie = false; // the next answer placed ties with the one before
  let drag = null;
  const words = (position) => `answer ${position + 1}`;
  const left = () => [...Array(count).keys()].filter((position) => !rungs.flat().includes(position));

  function chip(position) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.dataset.chip = position;
    button.textContent = position + 1;
    const rung = rungs.findIndex((each) => each.includes(position));
    button.setAttribute("aria-label", `${words(position)}, ${rung < 0 ? "not placed" : `place ${rung + 1}${rungs[rung].length > 1 ? ", tied" : ""}`}`);
    return button;
  }

  function slot(name, value, children = [], text = "") {
    const entry = document.createElement("div");
    entry.className = name;
    entry.dataset[name] = value;
    if (text) entry.append(Object.assign(document.createElement("span"), { textContent: text }));
    entry.append(...children);
    return entry;
  }

  function draw(focus = null) {
    const parts = [slot("gap", 0)];
    rungs.forEach((rung, index) => parts.push(slot("rung", index, rung.map(chip), index ? "" : "best"), slot("gap", index + 1)));
    node.replaceChildren(...parts, slot("tray", "", left().map(chip), left().length ? "to place" : ""));
    node.dataset.tie = isTie ? "yes" : "no";
    node.querySelector(`[data-chip="${focus}"]`)?.focus();
    onRanked(rungs, left());
  }

  function take(position) {
    rungs = rungs.map((rung) => rung.filter((each) => each !== position)).filter((rung) => rung.length);
  }

  /* Place an answer next; one already placed is removed. */
  function place(position, focus = null) {
    if (position >= count) return;
    if (!left().includes(position)) take(position);
    else if (isTie && rungs.length) rungs.at(-1).push(position);
    else rungs.push([position]);
    isTie = false;
    draw(focus);
  }

  /* Drop an answer onto a rung (a tie), into a gap (a rung of its own) or back into the tray. */
  function drop(position, target) {
    const kept = target.dataset.rung !== undefined ? rungs[target.dataset.rung] : null;
    const gap = target.dataset.gap === undefined ? null : Number(target.dataset.gap);
    if (kept?.length === 1 && kept[0] === position) return draw(position);
    const before = gap === null ? 0 : rungs.slice(0, gap).filter((rung) => rung.every((each) => each === position)).length;
    if (kept) kept.push(position);
    const others = rungs.map((rung) => rung.filter((each, at) => each !== position || (rung === kept && at === rung.length - 1)));
    rungs = others.filter((rung) => rung.length);
    if (gap !== null) rungs.splice(gap - before, 0, [position]);
    draw(position);
  }

  /* One step better (-1) or worse (1): out of a tie, or into one. */
  function shift(position, step) {
    const at = rungs.findIndex((rung) => rung.includes(position));
    if (at < 0) return place(position, position);
    if (rungs[at].length > 1) {
      rungs[at] = rungs[at].filter((each) => each !== position);
      rungs.splice(step < 0 ? at : at + 1, 0, [position]);
    } else if (rungs[at + step]) {
      rungs[at + step].push(position);
      rungs.splice(at, 1);
    }
    draw(position);
  }

  const targetAt = (event) => document.elementsFromPoint(event.clientX, event.clientY).map((each) => each.closest?.(".rung, .gap, .tray")).find((each) => each && node.contains(each));

  function onDown(event) {
    const button = event.target.closest("[data-chip]");
    if (!button || event.button) return;
    drag = { position: Number(button.dataset.chip), x: event.clientX, y: event.clientY, ghost: null, isMoved: false };
  }

  function onMove(event) {
    if (!drag) return;
    if (!drag.isMoved && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < DRAG_PX) return;
    drag.isMoved = true;
    event.preventDefault();
    drag.ghost ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "rank-ghost", textContent: drag.position + 1 }));
    drag.ghost.style.cssText = `left:${event.clientX - 20}px;top:${event.clientY - 20}px`;
    node.querySelectorAll(".is-over").forEach((each) => each.classList.remove("is-over"));
    targetAt(event)?.classList.add("is-over");
  }

  function onUp(event) {
    if (!drag) return;
    const { position, ghost, isMoved } = drag;
    drag = null;
    ghost?.remove();
    node.querySelectorAll(".is-over").forEach((each) => each.classList.remove("is-over"));
    const target = isMoved && event.type === "pointerup" && targetAt(event);
    if (!target) return;
    if (target.classList.contains("tray")) { take(position); draw(position); }
    else drop(position, target);
  }

  const listen = (area) => area.addEventListener("pointerdown", onDown);
  listen(node);
  document.addEventListener("pointermove", onMove, { passive: false });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, onUp);

  return {
    listen, // more places with chips that can be dragged
    /* Begin with an item, where it was left if that fits. */
    reset(number, before = []) {
      count = number;
      const placed = before.flat();
      const fits = placed.every((position, at) => Number.isInteger(position) && position >= 0 && position < number && placed.indexOf(position) === at);
      rungs = fits ? before.filter((rung) => rung.length).map((rung) => [...rung]) : [];
      isTie = false;
      draw();
    },
    place,
    shift,
    tie() { isTie = !isTie && rungs.length > 0 && left().length > 0; draw(); },
    back() { const last = rungs.at(-1)?.at(-1); if (last !== undefined) { take(last); draw(); } },
    left,
    /* Rank by screen position; an answer left over comes last. */
    ranks() {
      const all = left().length ? [...rungs, left()] : rungs;
      return [...Array(count).keys()].map((position) => 1 + all.findIndex((rung) => rung.includes(position)));
    },
  };
}

/* A tour of the pages: next to a real control stands a card that says what it is for. It is left at any time, by its button, by
   Esc in it, or by going on working; after a reload it goes on where it was. A button with `data-tour` begins it. */
(() => {
  const STEPS = [
    ["home", "#home .loop", "The loop", "Each box is a station on the way to an aligned model. What to do now always stands next to them."],
    ["data", "#data-list", "Prompts and demonstrations", "Prompts are what the model answers; demonstrations are answers as you want them. Your own come in by Import, as files or data sets, or are written here."],
    ["train/sft", "#start-sft", "Train SFT", "This teaches the base model your demonstrations. The defaults fit; what you change is listed below the button, with the same command for a terminal."],
    ["runs", "#run-list, #page-runs .nothing", "Watch it learn", "Every run is listed here, with its curves, samples and log, live. Closing this tab stops nothing."],
    ["train/sample", "#start-sample", "Sample pairs", "The trained model answers prompts twice, so that there are two answers to compare."],
    ["rate", ".rating .presses, .rating [data-part=none]", "Rate by keys", "One key says which answer you prefer and how clearly; the keys are shown below the answers. About fifty ratings make a first reward model."],
    ["train/reward", "#start-reward", "Train a reward model", "It learns to predict which answer you prefer, and is measured on ratings that it has not seen."],
    ["train/ppo", "#start-ppo", "Run PPO", "The policy gets better against the reward model, and the KL penalty holds it near SFT. Watch score against KL."],
    ["evaluate", "#measure", "Did it help?", "Compare checkpoints here: what they gained, what they lost elsewhere, and, blind, which one you prefer."],
    ["chat", ".chat .composer, .chat [data-part=none]", "Talk with it", "Chat with one checkpoint or two side by side. Then sample again from the new policy: the next round begins."],
  ];
  const GAP = 12;
  const FOLLOW_MS = 200;
  const shelf = window.studio.tab("studio-tour"); // the step that is shown, or null
  let card = null, ring = null, following = 0;
  let isShown = false; // the control was scrolled to

  function begin(at) {
    if (!card) place();
    shelf.write(at);
    const [address, , title, text] = STEPS[at];
    card.querySelector(".num").textContent = `${at + 1} of ${STEPS.length}`;
    card.querySelector("h2").textContent = title;
    card.querySelector("[data-said]").textContent = text;
    card.querySelector("[data-back]").disabled = at === 0;
    card.querySelector("[data-next]").textContent = at === STEPS.length - 1 ? "Done" : "Next";
    if (window.studio.address() !== address) location.hash = address;
    card.querySelector("[data-next]").focus({ preventScroll: true });
    isShown = false;
    follow();
  }

  function place() {
    const root = document.querySelector(".gradio-container"); // where the colours are defined
    ring = root.appendChild(document.createElement("div"));
    ring.className = "tour-ring";
    card = root.appendChild(document.createElement("section"));
    card.className = "tour";
    card.setAttribute("role", "dialog");
    card.setAttribute("aria-labelledby", "tour-title");
    card.setAttribute("aria-describedby", "tour-said");
    card.innerHTML = '<p class="num"></p><h2 id="tour-title"></h2><p id="tour-said" data-said></p><div>'
      + '<button type="button" data-leave>Leave</button><button type="button" data-back>Back</button>'
      + '<button type="button" class="is-primary" data-next>Next</button></div>';
    card.addEventListener("click", (event) => {
      const step = shelf.read(0);
      if (event.target.closest("[data-leave]")) leave();
      else if (event.target.closest("[data-back]")) begin(step - 1);
      else if (event.target.closest("[data-next]")) step + 1 < STEPS.length ? begin(step + 1) : leave();
    });
    card.addEventListener("keydown", (event) => {
      if (event.key === "Escape") leave();
      event.stopPropagation(); // no key of the open page
    });
    following = setInterval(follow, FOLLOW_MS);
    addEventListener("scroll", follow, { capture: true, passive: true });
    addEventListener("resize", follow);
  }

  function leave() {
    clearInterval(following);
    removeEventListener("scroll", follow, { capture: true });
    removeEventListener("resize", follow);
    card.remove();
    ring.remove();
    card = ring = null;
    shelf.write(null);
    document.querySelector("#pages [role=tab][aria-selected=true]")?.focus({ preventScroll: true });
  }

  const target = () => {
    const [address, selector] = STEPS[shelf.read(0)];
    const isThere = window.studio.address().split("/")[0] === address.split("/")[0];
    return isThere && [...document.querySelectorAll(selector)].find((each) => each.getClientRects().length);
  };

  /* Keep ring and card at the control: below it, else above, else in the corner, where the page shows something else too. */
  function follow() {
    if (!card) return;
    const found = target();
    if (found && !isShown) found.scrollIntoView({ block: found.offsetHeight < innerHeight / 2 ? "center" : "nearest" });
    isShown ||= Boolean(found);
    const box = found && found.getBoundingClientRect();
    const isSeen = box && box.bottom > 0 && box.top < innerHeight;
    ring.hidden = !isSeen;
    const { offsetWidth: width, offsetHeight: height } = card;
    let left = innerWidth - width - GAP, top = innerHeight - height - GAP;
    if (isSeen) {
      Object.assign(ring.style, { left: `${box.left - 4}px`, top: `${box.top - 4}px`, width: `${box.width + 8}px`, height: `${box.height + 8}px` });
      const below = box.bottom + GAP, above = box.top - GAP - height;
      if (below + height <= innerHeight) top = below;
      else if (above >= 0) top = above;
      left = Math.min(Math.max(box.left, GAP), left);
    }
    Object.assign(card.style, { left: `${Math.max(left, GAP)}px`, top: `${Math.max(top, GAP)}px` });
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-tour]")) begin(0);
  });
  const waiting = setInterval(() => {
    if (!document.querySelector(".gradio-container [role=tab]")) return;
    clearInterval(waiting);
    if (STEPS[shelf.read(null)]) begin(shelf.read(0));
  }, FOLLOW_MS);
})();

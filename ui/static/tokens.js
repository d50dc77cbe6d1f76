/* The tokens of a response: one can be focused at a time, arrow keys go on, and what a token's title says is shown as text. */
(() => {
  const rows = ".token-row";

  const say = (token) => {
    const row = token.closest(rows), said = row.parentElement.querySelector(".token-said");
    for (const each of row.querySelectorAll("[aria-selected=true]")) each.setAttribute("aria-selected", "false");
    token.setAttribute("aria-selected", "true");
    said.textContent = token.title;
  };

  const move = (row, from, key) => {
    const tokens = [...row.children], at = tokens.indexOf(from), last = tokens.length - 1;
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[key];
    return to === undefined ? null : tokens[Math.max(0, Math.min(last, to))];
  };

  const tokenOf = (event) => event.target.closest?.(`${rows} > .token`);

  document.addEventListener("focusin", (event) => {
    const token = tokenOf(event);
    if (!token) return;
    for (const each of token.parentElement.children) each.tabIndex = each === token ? 0 : -1;
    say(token);
  });
  document.addEventListener("mouseover", (event) => {
    const token = tokenOf(event);
    if (token) say(token);
  });
  document.addEventListener("keydown", (event) => {
    const token = tokenOf(event), to = token && !event.ctrlKey && !event.metaKey && !event.altKey && move(token.parentElement, token, event.key);
    if (!to) return;
    event.preventDefault();
    to.focus();
  });
})();

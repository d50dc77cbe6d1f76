/* Outside text on the page: as markup that the studio has made and checked (ui/rendering), or as it is. Raw text is drawn
   in pieces, so that 200,000 characters of anything stay usable. In one scope with the scripts of Rate or of Chat. */
const PIECE = 6000; // characters drawn at a time
const FIRST = 16000; // characters drawn before the page is painted

function make(tag, parent, text = "", className = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

/* Draw a text into a body. `drawn` is what the studio made of it; without markup the text is shown as it is, with the
   reason above it. Another call for the same body stops this one. */
function drawText(body, text, drawn) {
  const number = (body.drawing = (body.drawing ?? 0) + 1);
  body.classList.toggle("formatted", !!drawn.html);
  body.classList.toggle("is-raw", !drawn.html);
  body.dataset.why = drawn.why ?? "";
  delete body.dataset.drawn;
  if (drawn.html) {
    body.innerHTML = drawn.html;
    body.dataset.drawn = "";
  } else {
    body.replaceChildren();
    drawRaw(body, text, () => body.drawing === number);
  }
}

function drawRaw(body, text, isWanted) {
  const pieces = cut(text);
  let at = 0;
  const more = (most) => {
    if (!isWanted()) return;
    for (let done = 0; at < pieces.length && done < most; at += 1) {
      done += pieces[at].length + 40;
      const isLine = pieces[at].endsWith("\n") || at === pieces.length - 1;
      make("div", body, pieces[at].replace(/\n$/, "") || "\n", isLine ? "piece" : "piece goes-on").dir = "auto";
    }
    if (at < pieces.length) setTimeout(more, 8, 4 * PIECE);
    else body.dataset.drawn = "";
  };
  more(FIRST);
}

/* Pieces of at most PIECE characters, cut after a line, else after a word, else anywhere but within a character. */
function cut(text) {
  const pieces = [];
  for (let from = 0; from < text.length; ) {
    let to = from + PIECE;
    if (to < text.length) {
      const line = text.lastIndexOf("\n", to);
      const word = text.lastIndexOf(" ", to);
      if (line > from) to = line + 1;
      else if (word > from) to = word + 1;
      else if (/[\ud800-\udbff]/.test(text[to - 1])) to -= 1;
    }
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}

/* Foreign text on the page: Markdown, code and math, made of nodes and never of markup. Nothing is loaded, no link leads
   away, and each pass over a text is linear, so that 200,000 characters of anything stay usable. */
const PIECE = 6000; // characters drawn at a time; longer paragraphs are cut
const FIRST = 16000; // characters drawn before the page is painted
const NESTED = 6;
const MATH_LINES = 40;

/* Draw a text into a body; its end may follow in later moments. Another call for the same body stops this one. */
function drawText(body, text, isRaw) {
  const number = (body.drawing = (body.drawing ?? 0) + 1);
  body.replaceChildren();
  body.classList.toggle("is-raw", isRaw);
  const tasks = isRaw ? cut(text).map((piece) => [piece.length, (parent) => rawPiece(parent, piece)]) : blocks(text.split("\n"), 0);
  let at = 0;
  const more = (most) => {
    if (body.drawing !== number) return;
    for (let done = 0; at < tasks.length && done < most; at += 1) {
      done += tasks[at][0] + 40;
      tasks[at][1](body);
    }
    if (at < tasks.length) setTimeout(more, 8, 4 * PIECE);
    else body.dataset.drawn = "";
  };
  delete body.dataset.drawn;
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

function make(tag, parent, text = "", className = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  if (/^(p|div|li|pre|td|th|blockquote)$/.test(tag)) node.dir = "auto";
  parent.append(node);
  return node;
}

const rawPiece = (parent, piece) => make("div", parent, piece.replace(/\n$/, "") || "\n", "piece");

/* ---- blocks ---- */

const FENCE = /^ {0,3}(```+|~~~+)/;
const ITEM = /^(\s{0,40})([-*+]|\d{1,9}[.)])\s+/;
const MATH = /^\s*(\$\$|\\\[)/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const isShort = (line) => line.length < 400;
const isTableRule = (line) => line !== undefined && isShort(line) && line.includes("-") && line.includes("|") && /^[\s|:-]+$/.test(line);
const isStart = (line) => FENCE.test(line) || /^ {0,3}(#{1,6}\s|>)/.test(line) || ITEM.test(line) || MATH.test(line) || (isShort(line) && RULE.test(line));

/* Tasks [characters, draw(parent)] for lines. */
function blocks(lines, depth) {
  const tasks = [];
  const add = (size, draw) => tasks.push([size, draw]);
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    const size = line.length;
    const fence = line.match(FENCE);
    if (!line.trim()) at += 1;
    else if (fence) at = code(lines, at, fence[1], add);
    else if (MATH.test(line) && mathBlock(lines, at, add)) at = mathBlock.end;
    else if (/^ {0,3}#{1,6}\s/.test(line)) { add(size, (parent) => inline(make("p", parent, "", "heading"), line.replace(/^\s*#+\s+/, "").slice(0, PIECE), 0)); at += 1; }
    else if (isShort(line) && RULE.test(line)) { add(1, (parent) => make("hr", parent)); at += 1; }
    else if (/^ {0,3}>/.test(line) && depth < NESTED) at = quote(lines, at, depth, add);
    else if (ITEM.test(line) && depth < NESTED) at = list(lines, at, depth, add);
    else if (line.includes("|") && isTableRule(lines[at + 1])) at = table(lines, at, add);
    else at = paragraph(lines, at, add);
  }
  return tasks;
}

function code(lines, at, mark, add) {
  let end = at + 1;
  while (end < lines.length && !lines[end].trimStart().startsWith(mark)) end += 1;
  for (const piece of cut(lines.slice(at + 1, end).join("\n") || " ")) add(piece.length, (parent) => make("pre", parent, piece));
  return end + 1;
}

/* The lines of a formula that begins here; none where it has no end nearby. */
function mathLines(lines, at) {
  const close = lines[at].trimStart().startsWith("$$") ? "$$" : "\\]";
  let size = 0;
  for (let num = 0; num <= MATH_LINES && size <= MATH_MOST && at + num < lines.length; num += 1) {
    const line = num ? lines[at + num] : lines[at].trim().slice(2);
    if (line.includes(close)) return num + 1;
    size += line.length;
  }
  return 0;
}

function mathBlock(lines, at, add) {
  const num = mathLines(lines, at);
  if (!num) return false;
  const close = lines[at].trimStart().startsWith("$$") ? "$$" : "\\]";
  const text = [lines[at].trim().slice(2), ...lines.slice(at + 1, at + num)].join("\n");
  const source = text.slice(0, text.indexOf(close));
  const rest = text.slice(text.indexOf(close) + 2);
  add(source.length, (parent) => { drawMath(make("p", parent, "", "display"), source, true); if (rest.trim()) inline(make("p", parent), rest.slice(0, PIECE), 0); });
  mathBlock.end = at + num;
  return true;
}

function quote(lines, at, depth, add) {
  const inner = [];
  while (at < lines.length && /^ {0,3}>/.test(lines[at])) inner.push(lines[at++].replace(/^\s*> ?/, ""));
  add(inner.join("").length, (parent) => { const node = make("blockquote", parent); for (const [, draw] of blocks(inner, depth + 1)) draw(node); });
  return at;
}

function list(lines, at, depth, add) {
  const first = lines[at].match(ITEM);
  const isNumbered = /\d/.test(first[2]);
  const items = [];
  for (; at < lines.length; at += 1) {
    const item = lines[at].match(ITEM);
    const isOwn = item && item[1].length <= first[1].length + 1;
    if (isOwn && /\d/.test(item[2]) !== isNumbered) break;
    if (isOwn) items.push([lines[at].slice(item[0].length)]);
    else if (item || /^\s{2,}\S/.test(lines[at]) || (!lines[at].trim() && /^(\s{2,}\S|\s*([-*+]|\d{1,9}[.)])\s)/.test(lines[at + 1] ?? ""))) items.at(-1).push(lines[at].replace(/^\s{0,4}/, ""));
    else break;
  }
  const node = { now: null };
  for (const [index, inner] of items.entries()) {
    add(inner.join("").length, (parent) => {
      if (!index) {
        node.now = make(isNumbered ? "ol" : "ul", parent);
        if (isNumbered) node.now.start = parseInt(first[2], 10);
      }
      const entry = make("li", node.now);
      for (const [, draw] of blocks(inner, depth + 1)) draw(entry);
    });
  }
  return at;
}

function table(lines, at, add) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").slice(0, 40);
  const head = lines[at];
  const rows = [];
  for (at += 2; at < lines.length && lines[at].includes("|") && lines[at].trim(); at += 1) rows.push(lines[at]);
  add(rows.join("").length, (parent) => {
    const node = make("table", make("div", parent, "", "scroll"));
    for (const [tag, line] of [["th", head], ...rows.map((each) => ["td", each])]) {
      const entry = make("tr", node);
      for (const cell of cells(line)) inline(make(tag, entry), cell.trim().slice(0, PIECE), 0);
    }
  });
  return at;
}

function paragraph(lines, at, add) {
  const from = at;
  const goesOn = () => !isStart(lines[at]) || (MATH.test(lines[at]) && !mathLines(lines, at)); // math without an end is text
  for (at += 1; at < lines.length && lines[at].trim() && goesOn(); at += 1);
  for (const piece of cut(lines.slice(from, at).join("\n"))) add(piece.length, (parent) => inline(make("p", parent), piece, 0));
  return at;
}

/* ---- within a line ---- */

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "s"], ["*", "em"], ["_", "em"]];

function inline(parent, text, depth) {
  let from = 0;
  const none = new Set(); // closing marks that do not come any more
  const close = (mark, start) => {
    if (none.has(mark)) return -1;
    const found = text.indexOf(mark, start);
    if (found < 0) none.add(mark);
    return found;
  };
  const put = (upto, next) => { if (upto > from) parent.append(text.slice(from, upto)); from = next; };
  for (let at = 0; at < text.length; ) {
    const next = special(text, at, depth, close, parent, put);
    at = next > at ? next : at + 1;
  }
  put(text.length, text.length);
}

/* Draw what begins at `at`, and return where it ends; 0 where nothing does. */
function special(text, at, depth, close, parent, put) {
  const sign = text[at];
  if (sign === "\\") {
    if (text[at + 1] === "(" || text[at + 1] === "[") return mathSpan(text, at, 2, close(text[at + 1] === "(" ? "\\)" : "\\]", at + 2), 2, parent, put);
    if (/[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) { put(at, at + 1); return at + 2; }
  } else if (sign === "`") {
    const ticks = text.slice(at).match(/^`{1,8}/)[0];
    const end = close(ticks, at + ticks.length);
    if (end < 0) return at + ticks.length;
    put(at, end + ticks.length);
    make("code", parent, text.slice(at + ticks.length, end));
    return end + ticks.length;
  } else if (sign === "$") {
    const width = text[at + 1] === "$" ? 2 : 1;
    const end = close("$".repeat(width), at + width);
    const isMoney = width === 1 && (/\s/.test(text[at + 1] ?? " ") || /\s/.test(text[end - 1] ?? " ") || /\d/.test(text[end + 1] ?? ""));
    return isMoney ? 0 : mathSpan(text, at, width, end, width, parent, put);
  } else if (sign === "[" || (sign === "!" && text[at + 1] === "[")) return reference(text, at, close, parent, put);
  else if (sign === "*" || sign === "_" || sign === "~") return emphasis(text, at, depth, close, parent, put);
  return 0;
}

function mathSpan(text, at, before, end, after, parent, put) {
  if (end <= at + before || end - at > MATH_MOST) return 0;
  put(at, end + after);
  drawMath(parent, text.slice(at + before, end), before === 2 && text[at] === "$");
  return end + after;
}

function drawMath(parent, source, isDisplay) {
  try { parent.append(formula(source.trim(), isDisplay)); }
  catch { make("code", parent, source.trim(), "tex"); }
}

/* A link or an image: its words and where it would lead, as text. Nothing is fetched. */
function reference(text, at, close, parent, put) {
  const isImage = text[at] === "!";
  const label = close("](", at);
  const end = label < 0 || label - at > 1000 ? -1 : text.slice(label, label + 3000).indexOf(")");
  if (end < 0) return 0;
  put(at, label + end + 1);
  const node = make("span", parent, isImage ? `image not shown: ${text.slice(at + 2, label)} ` : `${text.slice(at + 1, label)} `, isImage ? "image" : "link");
  make("span", node, text.slice(label + 2, label + end), "where");
  return label + end + 1;
}

function emphasis(text, at, depth, close, parent, put) {
  const [mark, tag] = MARKS.find(([each]) => text.startsWith(each, at)) ?? [];
  if (!mark) return 0;
  const start = at + mark.length;
  const isInWord = mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? "");
  const end = depth >= NESTED || isInWord || /\s/.test(text[start] ?? " ") ? -1 : close(mark, start + 1);
  if (end < 0 || /\s/.test(text[end - 1])) return start;
  put(at, end + mark.length);
  inline(make(tag, parent), text.slice(start, end), depth + 1);
  return end + mark.length;
}

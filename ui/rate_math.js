/* TeX to MathML, as nodes: the part of TeX that answers of language models use. What it does not know throws, and the
   caller shows the source instead. Nothing here makes markup of text. */
const MATHML = "http://www.w3.org/1998/Math/MathML";
const MATH_MOST = 2000; // characters of one formula
const MATH_DEPTH = 24;
const GREEK = "αalpha βbeta γgamma δdelta εepsilon εvarepsilon ζzeta ηeta θtheta ϑvartheta ιiota κkappa λlambda μmu νnu ξxi πpi ρrho σsigma τtau υupsilon φphi φvarphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΦPhi ΨPsi ΩOmega ℓell ℏhbar ∞infty ∅emptyset ℜRe ℑIm ∂partial ∇nabla";
const SIGNS = "±pm ∓mp ×times ÷div ·cdot ∗ast ∘circ ⊕oplus ⊗otimes ≤le ≤leq ≥ge ≥geq ≠ne ≠neq ≈approx ≡equiv ∼sim ≃simeq ∝propto ≪ll ≫gg ∈in ∉notin ⊂subset ⊆subseteq ⊃supset ∪cup ∩cap ∧land ∧wedge ∨lor ∨vee ¬neg ¬lnot →to →rightarrow ←leftarrow ↔leftrightarrow ⇒Rightarrow ⇒implies ⇐Leftarrow ⇔Leftrightarrow ⇔iff ↦mapsto ∀forall ∃exists …ldots …dots ⋯cdots ⋮vdots ⋱ddots |mid ∥parallel ⊥perp ∣vert ‖Vert ∥| ⟨langle ⟩rangle ⌊lfloor ⌋rfloor ⌈lceil ⌉rceil ∖setminus ′prime {{ }} %% $$ ## && __";
const LARGE = "∑sum ∏prod ∫int ∬iint ∮oint ⋃bigcup ⋂bigcap";
const NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln lg exp min max sup inf lim arg argmax argmin det dim ker gcd deg Pr mod bmod";
const ACCENTS = { hat: "^", widehat: "^", bar: "¯", overline: "¯", tilde: "~", widetilde: "~", vec: "→", dot: "˙", ddot: "¨" };
const SPACES = { ",": 0.17, ":": 0.22, ";": 0.28, "!": 0, " ": 0.25, quad: 1, qquad: 2 };
const FONTS = { mathbf: "bold", boldsymbol: "bold", mathrm: "normal", mathit: "italic", mathsf: "sans-serif", mathtt: "monospace", mathcal: "script", mathbb: "double-struck", operatorname: "normal", text: "normal", textbf: "bold", textit: "italic", mbox: "normal" };
const TABLES = { matrix: "", pmatrix: "()", bmatrix: "[]", vmatrix: "||", cases: "{", aligned: "", align: "", "align*": "", array: "", gathered: "" };
const BOARD = { R: "ℝ", N: "ℕ", Z: "ℤ", Q: "ℚ", C: "ℂ", P: "ℙ", E: "𝔼" };
const glossary = (list) => new Map(list.split(" ").map((entry) => [entry.slice([...entry][0].length), [...entry][0]]));
const greek = glossary(GREEK);
const signs = glossary(SIGNS);
const large = glossary(LARGE);

function element_(name, ...children) {
  const node = document.createElementNS(MATHML, name);
  node.append(...children);
  return node;
}

function formula(source, isDisplay) {
  if (source.length > MATH_MOST) throw new Error("too long");
  const tokens = source.match(/\\[a-zA-Z]+|\\[\s\S]|\s+|\d+(?:\.\d+)?|[\s\S]/gu) || [];
  const node = element_("math", row(mathParts({ tokens, at: 0, depth: 0 }, [])));
  if (isDisplay) node.setAttribute("display", "block");
  return node;
}

const row = (nodes) => (nodes.length === 1 ? nodes[0] : element_("mrow", ...nodes));

/* Nodes until one of the closing tokens, which stays unread; at the end of the formula only where none is asked for. */
function mathParts(state, closing) {
  state.depth += 1;
  if (state.depth > MATH_DEPTH) throw new Error("too deep");
  const found = [];
  while (state.at < state.tokens.length && !closing.includes(state.tokens[state.at])) {
    if (/^\s+$/.test(state.tokens[state.at])) { state.at += 1; continue; }
    found.push(withScripts(state, atom(state)));
  }
  if (closing.length && state.at >= state.tokens.length) throw new Error("not closed");
  state.depth -= 1;
  return found;
}

function withScripts(state, base) {
  let low = null;
  let high = null;
  let primes = 0;
  for (;;) {
    const sign = state.tokens[state.at];
    if (sign === "_" && !low) { state.at += 1; low = argument(state); }
    else if (sign === "^" && !high) { state.at += 1; high = argument(state); }
    else if (sign === "'") { state.at += 1; primes += 1; }
    else break;
  }
  if (primes) high = row([element_("mo", "′".repeat(primes)), ...(high ? [high] : [])]);
  const isTall = base.dataset?.limits !== undefined;
  if (low && high) return element_(isTall ? "munderover" : "msubsup", base, low, high);
  if (low) return element_(isTall ? "munder" : "msub", base, low);
  return high ? element_(isTall ? "mover" : "msup", base, high) : base;
}

function argument(state) {
  while (/^\s+$/.test(state.tokens[state.at] ?? "")) state.at += 1;
  if (state.at >= state.tokens.length) throw new Error("nothing follows");
  if (state.tokens[state.at] !== "{") return atom(state);
  state.at += 1;
  const inner = row(mathParts(state, ["}"]));
  state.at += 1;
  return inner;
}

/* The plain text of a {group}: for \text and the names of environments. */
function plainGroup(state) {
  if (state.tokens[state.at] !== "{") return state.tokens[state.at++] ?? "";
  const end = state.tokens.indexOf("}", state.at);
  if (end < 0) throw new Error("not closed");
  const text = state.tokens.slice(state.at + 1, end).join("");
  state.at = end + 1;
  return text;
}

function atom(state) {
  const token = state.tokens[state.at++];
  if (token === "{") { state.at -= 1; return argument(state); }
  if (token === "}" || token === "&" || token === "^" || token === "_") throw new Error(`stray ${token}`);
  if (/^\d/.test(token)) return element_("mn", token);
  if (token[0] === "\\") return command(state, token.slice(1));
  return element_(/\p{L}/u.test(token) ? "mi" : "mo", token === "-" ? "−" : token);
}

function command(state, name) {
  if (greek.has(name)) return element_("mi", greek.get(name));
  if (large.has(name) || name === "lim" || name === "max" || name === "min") {
    const node = element_("mo", large.get(name) ?? name);
    if (!name.endsWith("int")) node.dataset.limits = "";
    return node;
  }
  if (signs.has(name)) return element_("mo", signs.get(name));
  if (NAMES.split(" ").includes(name)) return element_("mi", name);
  if (name in SPACES) {
    const node = element_("mspace");
    node.setAttribute("width", `${SPACES[name]}em`);
    return node;
  }
  if (["frac", "dfrac", "tfrac"].includes(name)) return element_("mfrac", argument(state), argument(state));
  if (name === "binom") {
    const node = element_("mfrac", argument(state), argument(state));
    node.setAttribute("linethickness", "0");
    return row([element_("mo", "("), node, element_("mo", ")")]);
  }
  if (name === "sqrt") return root_(state);
  if (name in ACCENTS) return element_("mover", argument(state), element_("mo", ACCENTS[name]));
  if (name in FONTS) return styled(state, name);
  if (name === "left" || name === "right" || /^[bB]ig+[lr]?$/.test(name)) return fence(state);
  if (name === "begin") return table_(state);
  if (["displaystyle", "textstyle", "limits", "nolimits", "\\"].includes(name)) return element_("mrow");
  throw new Error(`unknown \\${name}`);
}

function root_(state) {
  if (state.tokens[state.at] !== "[") return element_("msqrt", argument(state));
  state.at += 1;
  const degree = row(mathParts(state, ["]"]));
  state.at += 1;
  return element_("mroot", argument(state), degree);
}

function styled(state, name) {
  if (/^(text|mbox|operatorname)/.test(name)) return element_("mtext", plainGroup(state));
  if (name === "mathbb") {
    const text = plainGroup(state);
    return element_("mi", BOARD[text] ?? text);
  }
  const node = element_("mstyle", argument(state));
  if (FONTS[name] === "bold") node.style.fontWeight = "bold";
  else if (FONTS[name] === "monospace" || FONTS[name] === "sans-serif") node.style.fontFamily = FONTS[name];
  return node;
}

function fence(state) {
  const token = state.tokens[state.at++] ?? "";
  if (token === ".") return element_("mrow");
  const text = token[0] === "\\" ? signs.get(token.slice(1)) : token;
  if (!text || /\p{L}|\d/u.test(text)) throw new Error("no bracket");
  return element_("mo", text);
}

function table_(state) {
  const name = plainGroup(state);
  if (!(name in TABLES)) throw new Error(`unknown ${name}`);
  if (name === "array" && state.tokens[state.at] === "{") plainGroup(state);
  const rows = [[]];
  for (;;) {
    rows.at(-1).push(element_("mtd", ...mathParts(state, ["&", "\\\\", "\\end"])));
    const end = state.tokens[state.at++];
    if (end === "\\\\") rows.push([]);
    if (end === "\\end") break;
  }
  if (plainGroup(state) !== name) throw new Error("not closed");
  const brackets = TABLES[name];
  const body = element_("mtable", ...rows.map((cells) => element_("mtr", ...cells)));
  const sides = [...brackets].map((sign) => element_("mo", sign));
  return row([...sides.slice(0, 1), body, ...sides.slice(1)]);
}

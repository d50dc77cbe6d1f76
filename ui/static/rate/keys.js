/* Finds what a key event means. A key counts by its character, however that is typed; where the layout writes no
   Latin letter there, or has its digits under Shift, it counts by its place on the keyboard. A key only half understood
   is reported, and blocks the judgement that may follow by mistake. No function here touches the page. In one scope with rate.js;
   VOCABULARY (studio/preferences/vocabulary.py) stands before all scripts. */
const KEYS = VOCABULARY.keys; // character to command
const NAMED = ["enter", "backspace", "escape", "arrowleft", "arrowright"];
const UNKNOWN = "unknown"; // a letter that may have been meant as one of ours, but is not
const METHOD = "method"; // an input method has taken the key
const isDigit = (text) => /^\p{Nd}$/u.test(text);
const isJudging = (key) => /^[0-9]$/.test(key) || VOCABULARY.judging.includes(key);
const keyOf = (name) => Object.keys(KEYS).find((key) => KEYS[key] === name);

/* The key that is meant: a character of the page, a name of NAMED, UNKNOWN, METHOD, or "" for what is left to the browser. */
function meant({ key, code = "", keyCode = 0, ...event }) {
  const isAltGr = event.isAltGr;
  if (event.metaKey || (!isAltGr && (event.ctrlKey || event.altKey))) return "";
  if (event.isComposing || key === "Process" || keyCode === 229) return METHOD;
  const name = key.toLowerCase();
  if (NAMED.includes(name)) return event.shiftKey ? "" : name;
  const typed = plain(key);
  if (/^[a-z]$/i.test(typed)) return !KEYS[typed.toLowerCase()] ? "" : event.shiftKey || isAltGr ? UNKNOWN : typed.toLowerCase();
  if (typed === " ") return event.shiftKey ? "" : typed;
  if (/^[0-9]$/.test(typed) || KEYS[typed]) return typed;
  if (key === "Unidentified") return UNKNOWN;
  if (/^[a-z][a-z0-9]+$/i.test(key) && key !== "Dead") return ""; // F1, Tab, Shift
  if (event.shiftKey || isAltGr) return /\p{L}/u.test(key) ? UNKNOWN : "";
  return placed(key, code);
}

/* The character as the page's keys are written: half-width, digits of any script as 0 to 9. */
function plain(key) {
  if (key === "\u3000") return " ";
  if (key === "\u061f" || key === "\uff1f") return "?";
  if (/^[\uff01-\uff5e]$/.test(key)) return plain(String.fromCharCode(key.charCodeAt(0) - 0xfee0));
  if (!isDigit(key)) return key;
  let value = 0; // the digits of a script follow each other from its zero on
  while (isDigit(String.fromCodePoint(key.codePointAt(0) - value - 1))) value += 1;
  return String(value % 10);
}

/* By place: a digit where the layout has digits under Shift, a letter where it writes no Latin ones. */
function placed(key, code) {
  const placedHere = VOCABULARY.places[code] ?? "";
  if (isDigit(placedHere) && !VOCABULARY.movedDigits[placedHere]?.includes(key)) return placedHere;
  if (!/[\p{L}\p{M}]/u.test(key) || key === "Dead") return "";
  if (/\p{Script=Latin}/u.test(key)) return UNKNOWN;
  const [letters, moved] = VOCABULARY.movedLetters[code] ?? ["", ""];
  const letter = letters.includes(key) ? moved : placedHere;
  return KEYS[letter] ? letter : UNKNOWN;
}

/* Return what the page must do for a key, as [name, value], or null. `at` is the state of the page:
   item: something is on the screen; question: the answers that are offered where an earlier vote is asked about; asking: which answer or
   reason is asked for; isRanking; isDeaf; isHeld: the key before was not understood;
   isBack: a text was being written when the page was loaded again; dialog: the one that is open. */
function order(key, at) {
  if (!key) return null;
  if (at.dialog) return KEYS[key] === at.dialog ? ["press", at.dialog] : null;
  const number = /^[1-9]$/.test(key) ? Number(key) : 0;
  const answer = at.question && VOCABULARY.settlements[key];
  const isOpening = at.question ? answer === "gap" : ["edit", "demonstrate", "note"].includes(KEYS[key]) || (at.asking === "edit" && number);
  if (at.isBack && !isOpening) return [key === "escape" ? "judge" : "back"]; // further typing is not for the answers
  if (key === UNKNOWN || key === METHOD) return [key];
  if (at.question) return answer ? (at.isDeaf ? null : at.question.includes(answer) ? ["settle", answer] : ["unsettled"]) : ["undo", "help"].includes(KEYS[key]) ? ["press", KEYS[key]] : isJudging(key) ? ["unsettled"] : null;
  if (at.asking && key === "escape") return ["unask"];
  if (at.asking === "skip" && number && number <= VOCABULARY.skipReasons) return ["skip", number - 1];
  if (at.asking && at.asking !== "skip" && number) return ["pick", number - 1];
  if (at.asking && isJudging(key)) return ["unasked"]; // a judgement now would be a slip
  if (at.isHeld && at.item && isJudging(key)) return ["held"];
  if (at.isRanking && !at.isDeaf && number) return ["place", number - 1];
  if (key === "arrowleft" || key === "arrowright") return ["shift", key === "arrowleft" ? -1 : 1];
  const name = KEYS[key];
  return name && (at.item || ["undo", "help", "guideline"].includes(name)) ? ["press", name] : null;
}

/* The same for a real event; a field or a button that has the focus may want the key itself. */
const meantBy = (event) => meant({
  key: event.key ?? "", code: event.code, keyCode: event.keyCode, isComposing: event.isComposing, shiftKey: event.shiftKey,
  ctrlKey: event.ctrlKey, altKey: event.altKey, metaKey: event.metaKey, isAltGr: event.getModifierState?.("AltGraph"),
});

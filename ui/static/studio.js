/* Shared by all pages: light and dark, the address (#page/item). No framework, no request. */
(() => {
  /* A browser may refuse its storage, or find it full: then the page works without. */
  const shelf = (kind, name) => ({
    get() { try { return window[kind].getItem(name); } catch { return null; } },
    put(text) { try { if (text === null) window[kind].removeItem(name); else window[kind].setItem(name, text); return true; } catch { return false; } },
  });
  const chosenTheme = shelf("localStorage", "studio-theme");
  const isDark = () => (chosenTheme.get() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const paint = () => document.body?.classList.toggle("dark", isDark());

  /* Text that is not encoded stays as it is. */
  function decoded(hash) {
    try { return decodeURIComponent(hash.slice(1)); } catch { return hash.slice(1); }
  }

  /* The address that was asked for, at the start or since, until it is reached or the person does something else: a page opened
     before it, such as Home, which Gradio opens first, reports late. */
  let asked = decoded(location.hash);
  addEventListener("hashchange", (event) => (asked = decoded(new URL(event.newURL).hash) || "home"), { capture: true });
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => (asked = ""), { capture: true });

  /* A page that the person opened while an address was still on its way: what the address opens late must not replace it. */
  const SETTLING_MS = 1000;
  let isFollowing = false;
  let preferred = "";
  let isReopening = false;
  let scrolled = ""; // the page that was scrolled through
  let clicked = ""; // a tab whose click is in the address, and whose report is still to come
  const tabOf = (page) => document.getElementById(`page-${page}-button`);
  const show = (page) => {
    if (window.studio.address().split("/")[0] !== page) history.pushState(null, "", `#${page}`);
  };
  document.addEventListener("click", (event) => {
    const page = event.target.closest?.("[role=tab]")?.id.match(/^page-(\w+)-button$/)?.[1];
    if (!page || isReopening) return; // an address may have been asked for since
    if (isFollowing || preferred) preferred = page;
    if (tabOf(page).getAttribute("aria-selected") !== "true") clicked = page;
    asked = "";
    show(page); // at once: Gradio reports a tab later, and Back may be pressed before
  }, { capture: true });

  window.studio = {
    /* An address is on its way to its page, until `arrived`. */
    follows() {
      isFollowing = true;
      preferred = "";
    },
    isOvertaken: () => preferred !== "",
    isSettled: () => !isFollowing && !preferred,
    async arrived() {
      isFollowing = false;
      const until = performance.now() + SETTLING_MS;
      while (preferred && !isFollowing && performance.now() < until) {
        isReopening = true;
        if (tabOf(preferred)?.getAttribute("aria-selected") !== "true") tabOf(preferred)?.click();
        isReopening = false;
        await new Promise((done) => setTimeout(done, 50));
      }
      if (!isFollowing) preferred = "";
    },
    /* Text that the browser keeps, and what this tab keeps through a reload. */
    kept: (name) => shelf("localStorage", name),
    tab(name) {
      const place = shelf("sessionStorage", name);
      return {
        read(fallback) { try { return JSON.parse(place.get()) ?? fallback; } catch { return fallback; } },
        write: (value) => place.put(value === null ? null : JSON.stringify(value)),
      };
    },
    /* Called by the button in the rail. */
    toggleTheme() {
      chosenTheme.put(isDark() ? "light" : "dark");
      paint();
    },
    /* The address, as page/item. */
    address: (hash = location.hash) => asked || decoded(hash) || "home",
    /* A tab was opened: show it in the address, as a step for the back button; keep the item where the address already is on that page. */
    opened(page) {
      tabOf(page)?.scrollIntoView({ block: "nearest", inline: "center" }); // in a narrow window the menu is wider than it
      if (page !== scrolled) scrollTo({ top: 0, behavior: "instant" }); // another page begins at its head
      scrolled = page;
      if (page === clicked) {
        clicked = "";
        return; // the address may have gone on since
      }
      if (preferred && page !== preferred) return;
      if (tabOf(page)?.getAttribute("aria-selected") !== "true") return; // reported late, after a click on another
      if (asked) { // by the address: the tab only follows it
        if (asked.split("/")[0] === page) asked = "";
        return;
      }
      show(page);
    },
    /* The person chose another item of the open page. */
    picked(page, item) {
      if (item && window.studio.address().split("/")[0] === page) history.replaceState(null, "", `#${page}/${encodeURIComponent(item)}`);
      return item;
    },
    /* Another item is shown. One that the address led to is reported late, when the address may have changed; it stays as it is. */
    visited: new Set(),
    chosen(page, item) {
      if (!isFollowing && !this.visited.has(`${page}/${item}`)) window.studio.picked(page, item);
    },
  };

  /* A run that a press has just made is shown before the address names it; a link to the one before is then the address already. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    const isPlain = !event.defaultPrevented && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!isPlain || !link?.hash.includes("/") || link.hash !== location.hash) return;
    window.dispatchEvent(new HashChangeEvent("hashchange", { oldURL: location.href, newURL: location.href }));
  });

  /* ---- an address such as rate/history names a section of a page, which Gradio makes only when it is opened ---- */
  const nameOf = (tab) => tab.textContent.trim().toLowerCase();
  const isOpened = (tab) => tab?.getAttribute("aria-selected") === "true";
  async function openSection() {
    const [page, name] = window.studio.address().split("/");
    if (page !== "rate" || !name) return;
    while (window.studio.address().startsWith(`${page}/${name}`)) {
      const tabs = [...document.querySelectorAll(`#${page}-tabs [role=tab]`)].filter((tab) => tab.offsetParent);
      const wanted = tabs.find((tab) => nameOf(tab) === name);
      if (tabs.length && (!wanted || isOpened(wanted))) return;
      wanted?.click();
      await new Promise((done) => setTimeout(done, 50));
    }
  }
  addEventListener("hashchange", openSection);
  openSection();
  document.addEventListener("click", (event) => {
    const tab = event.isTrusted && event.target.closest?.("#rate-tabs [role=tab]");
    if (tab && window.studio.address().split("/")[0] === "rate")
      history.replaceState(null, "", nameOf(tab) === "pairs" ? "#rate" : `#rate/${nameOf(tab)}`);
  });

  /* Gradio sets the class by itself when it mounts; the person's own choice wins. */
  function keepColours() {
    paint();
    new MutationObserver(() => {
      if (document.body.classList.contains("dark") !== isDark()) paint();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }
  if (document.body) keepColours();
  else document.addEventListener("DOMContentLoaded", keepColours);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  /* ---- times such as "4 min ago" grow older while nothing is drawn again; the words are those of html.ago_words ---- */
  const AGES = [[86400, "d"], [3600, "h"], [60, "min"]];
  const AGING_MS = 15_000;
  function age() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time.ago")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      const [size, unit] = AGES.find(([least]) => seconds >= least) ?? [];
      const said = size ? `${Math.floor(seconds / size)} ${unit} ago` : "just now";
      if (time.textContent !== said) time.textContent = said;
    }
  }
  setInterval(age, AGING_MS);
  document.addEventListener("visibilitychange", age);

  /* ---- copy buttons ---- */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });

  /* ---- clicks that a browser drops as their link or button is redrawn or moves between press and release: here they count ---- */
  const STILL_PX = 5;
  const control = (node) => node?.closest?.("a[href], button");
  const sameAs = (node) => node.getAttribute("href") ?? node.outerHTML;
  let pressed = null;
  document.addEventListener("pointerdown", (event) => {
    const node = event.button === 0 ? control(event.target) : null;
    pressed = node && { node, x: event.clientX, y: event.clientY };
  }, { capture: true });
  document.addEventListener("pointerup", (event) => {
    const { node, x, y } = pressed ?? {};
    pressed = null;
    const isStill = Math.hypot(event.clientX - x, event.clientY - y) < STILL_PX; // false where nothing was pressed
    if (!isStill || node === control(document.elementFromPoint(event.clientX, event.clientY))) return;
    const twin = node.isConnected ? node : [...document.querySelectorAll("a[href], button")].find((each) => sameAs(each) === sameAs(node));
    if (!twin || twin.disabled || twin.closest("[inert]")) return;
    const { ctrlKey, metaKey, shiftKey } = event;
    twin.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey, metaKey, shiftKey }));
  }, { capture: true });
})();

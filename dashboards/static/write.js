// Ctrl+Enter (or Cmd) saves or accepts. What is typed is kept in this browser until the server says that it is on disk.
const KEEP_MS = 30 * 24 * 3600 * 1000, PREFIX = "ratchet-write:";

const byId = (name) => document.getElementById(name);
const box = (name) => byId(name)?.querySelector("textarea");
const texts = () => document.querySelector("#note [data-at]")?.dataset ?? {};
let shown = {at: ""}, restoring = 0;

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
  const button = byId("do-save") ?? byId("do-accept");
  if (!button) return;
  event.preventDefault();
  button.click();
});

// --- what was typed and not saved: one entry for each person, campaign and ticket

const place = () => PREFIX + [location.pathname.replace(/\/$/, ""), shown.who, shown.ticket].join("|");

function store(act) {  // a browser that keeps nothing (private window, full) is no reason to stop
  try { return act(localStorage); } catch { return null; }
}

document.addEventListener("input", (event) => {
  if (!shown.ticket || !event.target.closest("#text, #reason") || !event.isTrusted && restoring) return;
  const typed = {text: box("text")?.value ?? "", reason: box("reason")?.value ?? "", at: Date.now()};
  store((local) => local.setItem(place(), JSON.stringify(typed)));
});

function forgetOld(local) {
  for (const key of Object.keys(local).filter((key) => key.startsWith(PREFIX))) {
    let at = 0;
    try { at = JSON.parse(local.getItem(key)).at; } catch { /* not ours to read: it goes */ }
    if (!(Date.now() - at < KEEP_MS)) local.removeItem(key);
  }
}

function put(name, text) {
  const area = box(name);
  if (!area || area.value === text) return;
  area.value = text;
  area.dispatchEvent(new Event("input", {bubbles: true}));
}

// The server's text comes into the box a moment after its note: ours goes on top of it, never before.
function restore() {
  const kept = store((local) => JSON.parse(local.getItem(place()) ?? "null"));
  clearInterval(restoring);
  if (!kept || kept.text === shown.start && !kept.reason) return;
  let tries = 0;
  restoring = setInterval(() => {
    const area = box("text");
    if (++tries > 200) { clearInterval(restoring); restoring = 0; }
    if (!area || area.value !== shown.start) return;
    put("text", kept.text);
    put("reason", kept.reason);
    clearInterval(restoring);
    restoring = 0;
    say(texts().restored, "calm");
  }, 25);
}

// --- what the server says, and when it says nothing

document.addEventListener("click", (event) => {
  if (!event.target.closest("#choices button")) return;
  awaitAnswer(
    () => say(texts().saving, "calm"),
    () => say(texts().lost, "error"),
  );
}, true);

new MutationObserver(() => {
  const note = noteLine();
  if (!note) return;
  (byId("do-save") ?? byId("do-accept"))?.setAttribute("aria-keyshortcuts", "Control+Enter");
  const found = note.querySelector("[data-at]")?.dataset;
  if (!found || found.at === shown.at) return;
  document.documentElement.lang = note.querySelector("[data-at]").lang;
  document.title = found.title;
  stopWaiting();
  say("", "");
  if (found.ticket === undefined) { shown.at = found.at; return; }  // the page stays as it is, under a new note
  const next = {...found};
  if (next.saved) {
    shown = {...next, ticket: next.saved};
    store((local) => local.removeItem(place()));
  }
  const moved = next.ticket !== shown.ticket || next.saved;
  shown = next;
  store(forgetOld);
  if (!shown.ticket) return;
  restore();
  if (moved) window.scrollTo(0, 0);
  if (moved && matchMedia("(hover: hover)").matches) setTimeout(() => box("text")?.focus({preventScroll: true}), 0);
}).observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ["data-at"]});

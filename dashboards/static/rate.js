// Keys press the buttons. A held key counts once; the server refuses a second press that comes too soon.
const KEYS = {"1": "left", "2": "right", "3": "tie", "4": "both_bad", "s": "skip"};
const SLOW_MS = 300, LOST_MS = 5000;

document.addEventListener("keydown", (event) => {
  const choice = KEYS[event.key.toLowerCase()];
  if (!choice || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
  const button = document.getElementById("choose-" + choice);
  if (!button) return;
  event.preventDefault();
  button.click();
});

// "Saved" must not stand there while a later choice gets no answer (server gone, link withdrawn).
const waiting = document.createElement("p");
waiting.id = "waiting";
let timers = [];
const say = (text, tone) => { waiting.textContent = text; waiting.className = "note " + tone; };

document.addEventListener("click", (event) => {
  if (!event.target.closest("#choices button")) return;
  timers.forEach(clearTimeout);
  timers = [
    setTimeout(() => say("Saving…", "calm"), SLOW_MS),
    setTimeout(() => say("Not saved: the server does not answer. This pair stays. Reload the page; if that does not " +
      "help, tell whoever sent you the link.", "error"), LOST_MS),
  ];
}, true);

// Every answer of the server brings a new note. Screen readers hear it; and what is new is seen from its top.
let answered = "";
new MutationObserver(() => {
  const progress = document.getElementById("progress"), note = document.getElementById("note");
  if (!progress || !note) return;
  if (waiting.parentElement !== note) note.append(waiting);
  for (const line of [progress, note]) line.setAttribute("aria-live", "polite");
  for (const [key, choice] of Object.entries(KEYS)) {
    document.getElementById("choose-" + choice)?.setAttribute("aria-keyshortcuts", key);
  }
  const at = note.querySelector("[data-at]")?.dataset.at ?? "";
  if (at === answered) return;
  answered = at;
  timers.forEach(clearTimeout);
  say("", "");
  window.scrollTo(0, 0);
}).observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ["data-at"]});

// Keys press the buttons; dialogs collect what goes with a choice. Nothing here decides what counts: the server does, by
// the ticket of what was on screen. Unsent words live in the tab's own history entry, since Gradio reloads the page when
// a server comes back; nothing is put into the browser's storage.
const CHOICES = {"1": "left", "2": "right", "3": "tie", "4": "both_bad"};
const TOOLS = {s: "skip", e: "edit", t: "tags", u: "undo", g: "guidelines", r: "raw", f: "report", p: "suggest"};
const SENDING = "#choices button, #choose-skip, #undo, #say, #go-on";

const root = document.documentElement;
const one = (query) => document.querySelector(query);
const texts = () => one("#texts")?.dataset ?? {};
const dialog = (name) => one("#dialog-" + name);
const press = (id) => document.getElementById(id)?.click();
const isThere = (element) => Boolean(element && element.getClientRects().length);

// --- what goes with a choice ------------------------------------------------------------------------------------------

const nothing = () => ({reason: "", tags: [], edit: null, drafts: {}});
let extra = nothing(), saying = null, screenName = "";

window.ratchet = {
  details: () => JSON.stringify({reason: extra.reason, tags: extra.tags, edit: extra.edit}),
  said: () => JSON.stringify(saying ?? {what: "prompt", text: ""}),
};

const remembered = () => history.state?.ratchet ?? {};
const remember = (more) => history.replaceState({...history.state, ratchet: {...remembered(), ...more}}, "");

const showPending = () => {
  remember({screen: screenName, extra});
  const said = [...extra.tags];
  if (extra.edit) said.push((texts().pendingEdit ?? "").replace("{side}", texts()[extra.edit.place]));
  const line = one("#pending");
  if (line) line.textContent = said.length ? texts().pending + " " + said.join(" · ") : "";
};

// An empty desk for what is on screen now, or what was written for it before the page was loaded again.
const reset = () => {
  extra = remembered().screen === screenName ? {...nothing(), ...remembered().extra} : nothing();
  for (const field of document.querySelectorAll("dialog input[type=text], #report-text")) field.value = "";
  for (const box of document.querySelectorAll("#dialog-tags [type=checkbox]")) box.checked = extra.tags.includes(box.value);
  for (const first of document.querySelectorAll("dialog .which label:first-of-type input")) first.checked = true;
  showPending();
};

const chosen = (name) => one(`[name=${name}]:checked`)?.value ?? "left";

const fillEdit = () => {
  const place = chosen("edit-place");
  extra.shown = place;
  one("#edit-text").value = extra.drafts[place] ?? one(`#${place} .raw`)?.textContent ?? "";
};

const keepDraft = () => {
  if (extra.shown) extra.drafts[extra.shown] = one("#edit-text").value;
  remember({screen: screenName, extra});
};

// What the main button of each dialog does.
const GO = {
  skip: () => { extra.reason = one("#skip-other").value; press("choose-skip"); },
  edit: () => { keepDraft(); extra.edit = {place: chosen("edit-place"), text: one("#edit-text").value}; },
  tags: () => {
    const known = [...document.querySelectorAll("#dialog-tags [type=checkbox]:checked")].map((box) => box.value);
    const own = one("#tags-own").value.split(",").map((tag) => tag.trim().slice(0, 60)).filter(Boolean);
    extra.tags = [...new Set([...known, ...own])].slice(0, 12);
  },
  report: () => {
    const place = chosen("report-place");
    saying = {what: "unsafe", place: place === "both" ? null : place, text: one("#report-text").value};
    press("say");
  },
  suggest: () => { saying = {what: "prompt", text: one("#suggest-text").value}; press("say"); },
};

const OPEN = {
  undo: () => press("undo"),
  raw: () => {
    const on = root.classList.toggle("raw");
    one("[data-tool=raw]").setAttribute("aria-pressed", String(on));
  },
};

const open = (name) => {
  if (OPEN[name]) return OPEN[name]();
  if (name === "edit") fillEdit();
  dialog(name)?.showModal();
};

document.addEventListener("submit", (event) => {
  const name = event.target.closest("dialog")?.id.replace("dialog-", "");
  if (event.submitter?.value === "go") GO[name]?.();
  showPending();
});

document.addEventListener("input", (event) => { if (event.target.id === "edit-text") keepDraft(); });

document.addEventListener("change", (event) => {
  if (event.target.name !== "edit-place") return;
  keepDraft();
  fillEdit();
});

document.addEventListener("click", (event) => {
  const at = (query) => event.target.closest(query);
  const tool = at("[data-tool]"), reason = at("[data-reason]"), shut = at("[data-close]"), to = at("[data-press]");
  if (tool) open(tool.dataset.tool);
  if (to) press(to.dataset.press);
  if (shut) { keepDraft(); shut.closest("dialog").close(); }
  if (reason) {
    extra.reason = reason.dataset.reason;
    reason.closest("dialog").close();
    press("choose-skip");
  }
  if (at("[data-drop-edit]")) {
    extra.edit = null;
    extra.drafts = {};
    dialog("edit").close();
    showPending();
  }
});

// --- keys -------------------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), shown = one("dialog[open]");
  if (event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true]")) return;
  let target = null;
  if (shown) {
    target = shown.querySelectorAll("[data-reason]")[Number(key) - 1];
    if ((key === "g" || key === "enter") && shown === dialog("guidelines")) target = shown.querySelector("button");
  } else if (key === "enter" && root.dataset.stage === "explained" && !event.target.closest("button, a")) {
    target = one("[data-press=go-on]");
  } else if (CHOICES[key]) {
    target = document.getElementById("choose-" + CHOICES[key]);
  } else if (TOOLS[key]) {
    target = one(`[data-tool=${TOOLS[key]}]`);
  }
  if (!isThere(target)) return;
  event.preventDefault();
  target.click();
});

// --- what the server says, and when it says nothing -------------------------------------------------------------------

document.addEventListener("click", (event) => {
  if (!event.target.closest(SENDING)) return;
  awaitAnswer(
    () => say(texts().saving, "calm"),
    () => { say(texts().lost, "error"); remember({lost: screenName}); },
    navigator.onLine ? LOST_MS : 0,
  );
}, true);

window.addEventListener("offline", () => say(texts().offline, "error"));
window.addEventListener("online", () => say("", ""));

// Every answer of the server brings a new note. Screen readers hear it; and what is new is seen from its top.
let answered = "", isNew = true;

const hear = (line) => {
  answered = line.dataset.at;
  stopWaiting();
  say(navigator.onLine ? "" : texts().offline, navigator.onLine ? "" : "error");
  if (saying && line.classList.contains("saved")) one(`#${saying.what === "unsafe" ? "report" : "suggest"}-text`).value = "";
  saying = null;
  extra.reason = "";
  root.lang = line.lang;
  if (!line.dataset.stage) return;
  root.dataset.stage = line.dataset.stage;
  if (line.dataset.screen !== screenName) {
    screenName = line.dataset.screen;
    reset();
    window.scrollTo(0, 0);
    if (line.dataset.stage === "explained") requestAnimationFrame(() => one(".why")?.scrollIntoView({block: "nearest"}));
  }
  if (!isNew) return remember({lost: ""});
  isNew = false;
  const lost = remembered().lost;
  if (lost) say(lost === screenName ? texts().backNotSaved : texts().back, lost === screenName ? "error" : "calm");
  else if ("first" in line.dataset) greet();
  remember({lost: ""});
};

const greet = () => {
  const shown = dialog("guidelines");
  shown.classList.add("first");
  shown.addEventListener("close", () => shown.classList.remove("first"), {once: true});
  shown.showModal();
};

new MutationObserver(() => {
  const note = noteLine();
  if (!note) return;
  for (const [key, choice] of Object.entries(CHOICES)) {
    document.getElementById("choose-" + choice)?.setAttribute("aria-keyshortcuts", key);
  }
  if (texts().title && document.title !== texts().title) document.title = texts().title;
  const line = note.querySelector("[data-at]");
  if (line && line.dataset.at !== answered && one("#texts")) hear(line);
}).observe(root, {childList: true, subtree: true, attributeFilter: ["data-at"]});

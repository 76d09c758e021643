// A conversation lives in this tab: a reload keeps it (sessionStorage), closing the tab or another person ends it. It goes
// along with each question; answers come as lines of JSON, and the HTML in them was made safe by the server.
const PREFIX = "ratchet-try:", SIDES = ["a", "b"];
const fresh = () => ({models: {}, system: "", offered: null, draft: "", better: null, cards: {a: [], b: []}});
const byId = (name) => document.getElementById(name);
const side = (name) => document.querySelector(`.side[data-side="${name}"]`);
const logOf = (name) => side(name).querySelector(".log");
const picker = (name) => side(name).querySelector("select");
const at = (path) => location.pathname.replace(/\/?$/, "/") + path;
let state = fresh(), running = null, opened = null, texts = {};

function element(tag, about = {}, ...children) {
  const made = Object.assign(document.createElement(tag), about);
  made.append(...children);
  return made;
}

// --- what this tab keeps

function store(act) {  // a browser that keeps nothing (private window, full) is no reason to stop
  try { return act(sessionStorage); } catch { return null; }
}

const keep = () => store((tab) => tab.setItem(PREFIX + opened.dataset.who, JSON.stringify(state)));

function reopen() {
  const mine = PREFIX + opened.dataset.who;
  store((tab) => Object.keys(tab).filter((key) => key.startsWith(PREFIX) && key !== mine).forEach((key) => tab.removeItem(key)));
  state = {...fresh(), ...store((tab) => JSON.parse(tab.getItem(mine) ?? "{}"))};
  byId("status").append(waiting);
  for (const name of SIDES) {
    const list = picker(name), wanted = state.models[name];
    // what is not served any more stays to be seen; asked for, the server says so
    if (wanted && ![...list.options].some((one) => one.value === wanted)) list.append(element("option", {value: wanted, textContent: wanted}));
    if (wanted !== undefined) list.value = wanted;
    state.models[name] = list.value;
    for (const card of state.cards[name]) show(name, card);
  }
  byId("ask").value = state.draft;
  byId("system").value = state.system;
  if (state.offered === null && !state.cards.a.length) offerSystem();
  byId("instruct").open = Boolean(state.system);
  offerChoice();
}

// What the contract of the version on the first side says stands there to begin with; a person's own words stay.
function offerSystem() {
  const box = byId("system");
  if (box.value.trim() && box.value !== state.offered) return;
  state.offered = picker("a").selectedOptions[0]?.dataset.system ?? "";
  box.value = state.offered;
  state.system = box.value.trim();
  if (state.system) byId("instruct").open = true;
}

new MutationObserver(() => {
  const found = byId("sides");
  if (!found || found === opened) return;
  opened = found;
  texts = JSON.parse(found.dataset.texts);
  document.documentElement.lang = found.lang;
  document.title = document.querySelector("#frame h1").textContent;
  reopen();
}).observe(document.documentElement, {childList: true, subtree: true});

// --- asking

document.addEventListener("submit", (event) => {
  if (!["composer", "make"].includes(event.target.id)) return;
  event.preventDefault();
  event.target.id === "make" ? make() : send();
});
document.addEventListener("keydown", (event) => {
  if (event.target.id !== "ask" || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  send();
});
document.addEventListener("click", (event) => {
  if (event.target.id === "stop") running?.abort();
  if (event.target.id === "anew") anew("");
});
document.addEventListener("input", (event) => {
  if (event.target.id === "ask") { state.draft = event.target.value; keep(); }
});
document.addEventListener("change", (event) => {
  if (event.target.matches('.side[data-side="a"] .model')) offerSystem();
  if (event.target.matches(".model, #system")) anew(state.cards.a.length ? texts.new_models : "");
});

function anew(why) {
  running?.abort();
  state = {...fresh(), offered: state.offered, models: {a: picker("a").value, b: picker("b").value}, system: byId("system").value.trim(), draft: byId("ask").value};
  for (const name of SIDES) logOf(name).replaceChildren();
  keep();
  say(why, "calm");
}

function busy(whether) {
  byId("send").disabled = whether;
  byId("stop").hidden = !whether;
}

async function send() {
  const text = byId("ask").value.trim();
  if (!text || running) return;
  running = new AbortController();
  busy(true);
  byId("ask").value = "";
  say(texts.answering, "calm");
  const ended = await Promise.all(SIDES.filter((name) => state.models[name]).map((name) => ask(name, text, running.signal)));
  if (!ended.some(Boolean) && !byId("ask").value) byId("ask").value = text;  // nothing came of it: not typed again
  running = null;
  busy(false);
  state.draft = byId("ask").value;
  keep();
  offerChoice();
  say("", "");
  byId("ask").focus();
}

function questionOf(name, text) {
  const turns = state.cards[name].filter((card) => card.whole.trim())
    .flatMap((card) => [{role: "user", content: card.asked}, {role: "assistant", content: card.whole}]);
  const first = state.system ? [{role: "system", content: state.system}] : [];
  return [...first, ...turns, {role: "user", content: text}];
}

async function ask(name, text, signal) {
  const talk = state, mine = element("p", {className: "mine", textContent: text});
  const shown = element("div", {className: "md written"}), article = element("article", {className: "answer"}, shown);
  logOf(name).querySelectorAll(".failed").forEach((one) => one.remove());
  logOf(name).append(mine, article);
  let whole = "", end = null;
  try {
    const answer = await post("ask", {model: state.models[name], messages: questionOf(name, text)}, signal);
    if (!answer.ok) throw new Error(await problemOf(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", read; !(read = await reader.read()).done;) {
      const lines = (rest + read.value).split("\n");
      rest = lines.pop();
      for (const line of lines.map((one) => JSON.parse(one))) {
        if (line.text !== undefined) { whole += line.text; shown.textContent = whole; } else end = line;
      }
    }
    if (!end || end.error) throw new Error(end?.error ?? texts.broke_off);
  } catch (error) {
    const why = error.name === "AbortError" ? texts.stopped : error instanceof TypeError ? texts.silent : error.message;
    article.append(element("p", {className: "note error", role: "alert", textContent: `${why.replace(/\.?$/, ".")} ${texts.not_kept}`}));
    for (const one of [mine, article]) one.classList.add("failed");  // until the next question
    return false;
  }
  if (talk !== state) return false;  // a new conversation began meanwhile
  const card = {asked: text, whole, ...end};
  state.cards[name].push(card);
  mine.remove();
  article.remove();
  show(name, card);
  keep();
  return true;
}

async function post(path, body, signal) {
  return fetch(at(path), {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body), signal});
}

async function problemOf(answer) {
  if (answer.status === 401 || answer.status === 403) return texts.elsewhere;
  try { return (await answer.json()).error; } catch { return texts.refused; }
}

// --- an answer, and what is said of it

function show(name, card) {
  const shown = element("div");
  shown.innerHTML = card.html;
  const said = element("span", {className: "said", role: "status"});
  const article = element("article", {className: "answer"}, shown, element("div", {className: "row"}, ...footOf(card, said), said));
  article.dataset.id = card.id ?? "";
  logOf(name).append(element("p", {className: "mine", textContent: card.asked}), article);
}

function footOf(card, said) {
  const about = element("span", {className: "soft", textContent: card.version + (card.cut ? ", " + texts.cut : "")});
  if (!card.id) return [about, element("span", {className: "soft", textContent: texts.unsayable})];
  const reason = element("input", {className: "reason", placeholder: texts.why_hint, ariaLabel: texts.why, maxLength: 2000, value: card.reason ?? "", hidden: !card.thumb});
  const thumbs = [["up", texts.good], ["down", texts.bad]].map(([value, text]) => {
    const button = element("button", {type: "button", className: `thumb ${value}`, textContent: text, ariaPressed: String(card.thumb === value)});
    button.onclick = async () => {
      if (!await tell(said, {completion_id: card.id, thumb: value, reason: reason.value})) return;
      remember(card, {thumb: value, reason: reason.value});
      thumbs.forEach((one) => { one.ariaPressed = String(one === button); });
      reason.hidden = false;
    };
    return button;
  });
  reason.onchange = async () => {
    if (await tell(said, {completion_id: card.id, thumb: card.thumb, reason: reason.value})) remember(card, {reason: reason.value});
  };
  const wanted = element("button", {type: "button", className: "mark", textContent: texts.mark, ariaPressed: String(Boolean(card.sent))});
  wanted.onclick = async () => {
    if (!await tell(said, {completion_id: card.id, campaign: true})) return;
    remember(card, {sent: true});
    wanted.ariaPressed = "true";
    if (byId("sent").open) countSent();
  };
  return [about, ...thumbs, editOf(card, said), wanted, reason];
}

function editOf(card, said) {
  const edit = element("button", {type: "button", className: "edit", textContent: texts.edit, ariaPressed: String(Boolean(card.edited))});
  edit.onclick = () => {
    const box = element("textarea", {value: card.edited ?? card.whole, rows: 6, ariaLabel: texts.edited});
    const save = element("button", {type: "button", textContent: texts.save_edit}), cancel = element("button", {type: "button", textContent: texts.cancel});
    const form = element("div", {className: "editing"}, box, element("div", {className: "row"}, save, cancel));
    const close = () => { form.remove(); edit.hidden = false; edit.focus(); };
    cancel.onclick = close;
    save.onclick = async () => {
      if (!await tell(said, {completion_id: card.id, edited: box.value})) return;
      remember(card, {edited: box.value});
      edit.ariaPressed = "true";
      close();
    };
    edit.hidden = true;
    edit.closest(".answer").append(form);
    box.focus();
  };
  return edit;
}

function remember(card, what) {
  Object.assign(card, what);
  keep();
}

// Of two first answers one may be better: the only place where both sides were asked the same.
function offerChoice() {
  const [a, b] = SIDES.map((name) => state.cards[name][0]);
  if (!a?.id || !b?.id || a.asked !== b.asked || a.whole === b.whole || document.querySelector(".better")) return;
  const buttons = [[a, b, "a"], [b, a, "b"]].map(([one, other, name]) => {
    const button = element("button", {type: "button", className: "better", textContent: texts.better, ariaPressed: String(state.better === one.id)});
    const article = logOf(name).querySelector(".answer[data-id]"), said = article.querySelector(".said");
    button.onclick = async () => {
      if (!await tell(said, {chosen: one.id, rejected: other.id})) return;
      state.better = one.id;
      keep();
      buttons.forEach((each) => { each.ariaPressed = String(each === button); });
    };
    article.append(button);
    return button;
  });
}

async function tell(said, body) {
  said.className = "said";
  said.textContent = texts.saving;
  let problem = texts.silent;
  try {
    const answer = await post("say", body, AbortSignal.timeout(LOST_MS));
    problem = answer.ok ? "" : await problemOf(answer);
  } catch { /* no network, or no server: as said */ }
  said.textContent = problem ? texts.not_saved.replace("{why}", () => problem) : texts.saved;
  said.classList.toggle("wrong", Boolean(problem));
  return !problem;
}

// --- a campaign of what was sent to one

document.addEventListener("toggle", (event) => {
  if (event.target.id === "sent" && event.target.open) countSent();
}, true);

async function countSent() {
  let text = texts.silent;
  try {
    const answer = await fetch(at("sent"), {signal: AbortSignal.timeout(LOST_MS)});
    text = answer.ok ? (await answer.json()).text : await problemOf(answer);
  } catch { /* no network, or no server: as said */ }
  byId("sent-counts").textContent = text;
}

async function make() {
  const said = byId("made"), about = Object.fromEntries(["campaign", "name", "purpose"].map((name) => [name, byId(`make-${name}`).value]));
  said.className = "said";
  said.textContent = texts.saving;
  let problem = texts.silent;
  try {
    const answer = await post("campaign", about, AbortSignal.timeout(60000));
    problem = answer.ok ? "" : await problemOf(answer);
    if (answer.ok) {
      const found = await answer.json();
      const link = element("a", {href: `/board/?campaign=${encodeURIComponent(found.campaign)}`, textContent: texts.campaign_open});
      said.replaceChildren(found.text + " ", link);
    }
  } catch { /* as said */ }
  if (problem) said.textContent = texts.not_saved.replace("{why}", () => problem);
  said.classList.toggle("wrong", Boolean(problem));
  countSent();
}

// A conversation lives in this tab: a reload keeps it (sessionStorage), closing the tab or another person ends it. It goes
// along with each question; answers come as lines of JSON, and the HTML in them was made safe by the server.
const PREFIX = "ratchet-try:", SIDES = ["a", "b"];
const fresh = () => ({models: {}, system: "", draft: "", better: null, cards: {a: [], b: []}});
const byId = (name) => document.getElementById(name);
const side = (name) => document.querySelector(`.side[data-side="${name}"]`);
const logOf = (name) => side(name).querySelector(".log");
const picker = (name) => side(name).querySelector("select");
const at = (path) => location.pathname.replace(/\/?$/, "/") + path;
let state = fresh(), running = null, opened = null;

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
  byId("instruct").open = Boolean(state.system);
  offerChoice();
}

new MutationObserver(() => {
  const found = byId("sides");
  if (!found || found === opened) return;
  opened = found;
  reopen();
}).observe(document.documentElement, {childList: true, subtree: true});

// --- asking

document.addEventListener("submit", (event) => {
  if (event.target.id !== "composer") return;
  event.preventDefault();
  send();
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
  if (event.target.matches(".model, #system")) anew(state.cards.a.length ? "A new conversation: models and system prompt are those of a whole one." : "");
});

function anew(why) {
  running?.abort();
  state = {...fresh(), models: {a: picker("a").value, b: picker("b").value}, system: byId("system").value.trim(), draft: byId("ask").value};
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
  say("Answering…", "calm");
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
    if (!end || end.error) throw new Error(end?.error ?? "The answer broke off.");
  } catch (error) {
    const why = error.name === "AbortError" ? "Stopped." : error instanceof TypeError ? "The server does not answer." : error.message;
    article.append(element("p", {className: "note error", role: "alert", textContent: `${why.replace(/\.?$/, ".")} Not kept.`}));
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
  if (answer.status === 401 || answer.status === 403) return "You are not signed in any more, or this is not for you: sign in, in another tab.";
  try { return (await answer.json()).error; } catch { return "The server refused."; }
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
  const about = element("span", {className: "soft", textContent: card.version + (card.cut ? ", cut at its longest" : "")});
  if (!card.id) return [about, element("span", {className: "soft", textContent: "Not kept: nothing can be said of it."})];
  const reason = element("input", {className: "reason", placeholder: "Why?", ariaLabel: "Why", maxLength: 2000, value: card.reason ?? "", hidden: !card.thumb});
  const thumbs = [["up", "Good"], ["down", "Bad"]].map(([value, text]) => {
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
  const wanted = element("button", {type: "button", textContent: "To a campaign", ariaPressed: String(Boolean(card.sent))});
  wanted.onclick = async () => {
    if (!await tell(said, {completion_id: card.id, campaign: true})) return;
    remember(card, {sent: true});
    wanted.ariaPressed = "true";
  };
  return [about, ...thumbs, editOf(card, said), wanted, reason];
}

function editOf(card, said) {
  const edit = element("button", {type: "button", className: "edit", textContent: "Edit", ariaPressed: String(Boolean(card.edited))});
  edit.onclick = () => {
    const box = element("textarea", {value: card.edited ?? card.whole, rows: 6, ariaLabel: "What it should have said"});
    const save = element("button", {type: "button", textContent: "Save edit"}), cancel = element("button", {type: "button", textContent: "Cancel"});
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
    const button = element("button", {type: "button", className: "better", textContent: "This one is better", ariaPressed: String(state.better === one.id)});
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
  said.textContent = "Saving…";
  let problem = "the server does not answer.";
  try {
    const answer = await post("say", body, AbortSignal.timeout(LOST_MS));
    problem = answer.ok ? "" : await problemOf(answer);
  } catch { /* no network, or no server: as said */ }
  said.textContent = problem ? `Not saved: ${problem}` : "Saved";
  said.classList.toggle("wrong", Boolean(problem));
  return !problem;
}

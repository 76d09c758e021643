// The conversation of each side lives here and goes along with each question. Answers come as lines of JSON.
const MAX_TURNS = 39;
const talks = {a: [], b: []};
let running = null;
const byId = (name) => document.getElementById(name);
const side = (name) => document.querySelector(`.side[data-side="${name}"]`);
const chosen = (name) => side(name).querySelector("select").value;
const at = (path) => location.pathname.replace(/\/?$/, "/") + path;
const say = (text) => { byId("status").textContent = text; };

function element(tag, about = {}, ...children) {
  const made = Object.assign(document.createElement(tag), about);
  made.append(...children);
  return made;
}

async function post(path, body, signal) {
  return fetch(at(path), {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body), signal});
}

async function problemOf(answer) {
  try { return (await answer.json()).error; } catch { return answer.status === 401 ? "Sign in again, in another tab." : "The server refused."; }
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "composer") return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.target.id === "ask" && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
});
document.addEventListener("click", (event) => {
  if (event.target.id === "stop") running?.abort();
  if (event.target.id === "anew") anew();
});
document.addEventListener("change", (event) => { if (event.target.matches(".model")) anew(); });

function anew() {
  running?.abort();
  for (const name of ["a", "b"]) { talks[name] = []; side(name).querySelector(".log").replaceChildren(); }
  say("");
}

async function send() {
  const text = byId("ask").value.trim();
  if (!text || running) return;
  running = new AbortController();
  byId("send").disabled = true; byId("stop").hidden = false; byId("ask").value = "";
  say("Answering…");
  const names = ["a", "b"].filter((name) => chosen(name));
  const first = names.every((name) => talks[name].length === 0);
  const ended = await Promise.all(names.map((name) => ask(name, text, running.signal)));
  if (ended.every((one) => !one)) byId("ask").value = byId("ask").value || text;  // nothing came of it: not typed again
  if (first && ended.length === 2 && ended.every((one) => one?.id)) compare(ended);
  running = null;
  byId("send").disabled = false; byId("stop").hidden = true;
  say("");
  byId("ask").focus();
}

async function ask(name, text, signal) {
  const log = side(name).querySelector(".log"), talk = talks[name];
  const shown = element("div", {className: "md written"});
  const card = element("article", {className: "answer"}, shown);
  log.append(element("p", {className: "mine", textContent: text}), card);
  const question = [...talk, {role: "user", content: text}].slice(-MAX_TURNS);
  let whole = "", end = null;
  try {
    const answer = await post("ask", {model: chosen(name), messages: question}, signal);
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
    const why = error.name === "AbortError" ? "Stopped; not kept." : error.message;
    card.append(element("p", {className: "note error", textContent: why}));
    return null;
  }
  shown.outerHTML = end.html;  // made safe by the server
  talks[name] = [...question, {role: "assistant", content: whole}];
  card.append(foot(end, whole));
  return {...end, card};
}

function foot(end, whole) {
  const row = element("div", {className: "row"});
  row.append(element("span", {className: "soft", textContent: end.version + (end.cut ? ", cut at its longest" : "")}));
  if (!end.id) { row.append(element("span", {className: "soft", textContent: "not kept: the disk refused"})); return row; }
  const said = element("span", {className: "said", role: "status"});
  const reason = element("input", {className: "reason", placeholder: "Why?", ariaLabel: "Why", maxLength: 2000, hidden: true});
  let thumb = null;
  const thumbs = [["up", "👍", "Good answer"], ["down", "👎", "Bad answer"]].map(([value, sign, label]) => {
    const button = element("button", {type: "button", textContent: sign, ariaLabel: label, ariaPressed: "false"});
    button.onclick = async () => {
      const body = {completion_id: end.id, thumb: value, reason: reason.value};
      if (!await tell(said, body)) return;
      thumb = value;
      thumbs.forEach((one) => { one.ariaPressed = String(one === button); });
      reason.hidden = false;
    };
    return button;
  });
  reason.onchange = () => tell(said, {completion_id: end.id, thumb, reason: reason.value});
  const edit = element("button", {type: "button", textContent: "Edit"});
  edit.onclick = () => {
    const box = element("textarea", {value: whole, rows: 6, ariaLabel: "What it should have said"});
    const save = element("button", {type: "button", textContent: "Save edit"});
    save.onclick = async () => {
      if (!await tell(said, {completion_id: end.id, edited: box.value, reason: reason.value})) return;
      whole = box.value; box.remove(); save.remove(); edit.hidden = false;
    };
    edit.hidden = true;
    row.after(box, save);
    box.focus();
  };
  row.append(...thumbs, edit, reason, said);
  return row;
}

function compare(ended) {
  ended.forEach((one, place) => {
    const other = ended[1 - place];
    const button = element("button", {type: "button", className: "better", textContent: "This one is better"});
    const said = element("span", {className: "said", role: "status"});
    button.onclick = () => tell(said, {chosen: one.id, rejected: other.id});
    one.card.append(button, said);
  });
}

async function tell(said, body) {
  said.textContent = "Saving…";
  try {
    const answer = await post("say", body);
    said.textContent = answer.ok ? "Saved" : "Not saved. " + await problemOf(answer);
    return answer.ok;
  } catch {
    said.textContent = "Not saved: the server does not answer.";
    return false;
  }
}

// What pages that save say while the server is silent: "Saved" must not stand there while a later press gets no answer
// (server gone, network dead, link withdrawn, signed out). Each page's own script says what to do then.
const SLOW_MS = 300, LOST_MS = 5000;
const waiting = document.createElement("p");
waiting.id = "waiting";
let timers = [];
const say = (text, tone) => { waiting.textContent = text ?? ""; waiting.className = "note " + tone; };
const stopWaiting = () => timers.forEach(clearTimeout);

const awaitAnswer = (slow, lost, lostMs = LOST_MS) => {
  stopWaiting();
  timers = [setTimeout(lost, lostMs)];
  if (lostMs > SLOW_MS) timers.push(setTimeout(slow, SLOW_MS));
};

// The line of notes, for eyes and for screen readers; null while Gradio has not built the page.
const noteLine = () => {
  const progress = document.getElementById("progress"), note = document.getElementById("note");
  if (!progress || !note) return null;
  if (waiting.parentElement !== note) note.append(waiting);
  for (const line of [progress, note]) line.setAttribute("aria-live", "polite");
  return note;
};


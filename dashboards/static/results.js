// A plan that runs is asked for again every few seconds, as long as its tab is in sight and something may change.
let asking = false, asked = 0;

async function lookAgain(live) {
  const plan = live.dataset.plan, place = location.pathname.replace(/\/?$/, "/");
  const answer = await fetch(`${place}live/${encodeURIComponent(plan)}`, {signal: AbortSignal.timeout(20000)});
  if (live !== document.getElementById("live") || plan !== live.dataset.plan) return;  // another one is shown by now
  if (answer.ok) live.innerHTML = await answer.text();
  else if (answer.status === 401 || answer.status === 403) stop(live, "You are not signed in any more: sign in, then reload this page.");
  else stop(live, await answer.text());
}

function stop(live, why) {
  live.dataset.stopped = "";
  tell(live, why);
}

function tell(live, why) {
  const line = live.querySelector("#as-of");
  if (line) line.textContent = why;
}

setInterval(async () => {
  const live = document.getElementById("live");
  if (!live || asking || document.hidden || !live.offsetParent || "stopped" in live.dataset || live.querySelector("[data-over]")) return;
  if (Date.now() - asked < 1000 * Number(live.dataset.every)) return;
  asking = true;
  try { await lookAgain(live); } catch { tell(live, "The server does not answer; what is below is from before. Asking again."); }
  asked = Date.now();
  asking = false;
}, 500);

/* Times in the reader's zone, and pages that stay up to date. Everything works without it, but for that. */
"use strict";

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function tellTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.textContent = (at.toDateString() === new Date().toDateString() ? today : day).format(at);
    element.title = exact.format(at);
  }
}

/* --- pages that stay up to date ---------------------------------------------------------------------- */

const POLL = 10000; // ms between two looks where there is no stream
const REST = 30000; // ms after which a page with a stream is looked at again, for what no change tells
const CALM = 700; // ms in which changes are taken together
const parts = new Map(); // the markup of each part as the server last sent it

function partsOf(root) {
  return [...root.querySelectorAll("[data-fresh][id]")];
}

/* What something to press is known by, before and after it was made anew. */
function keyOf(element) {
  return element.getAttribute("href") ?? element.getAttribute("formaction") ?? (element.id || element.textContent);
}

async function refresh() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-cache" });
  } catch {
    return; // away; the next look will tell
  }
  if (!answer.ok) return;
  const there = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const fresh of partsOf(there)) {
    const shown = document.getElementById(fresh.id);
    if (!shown || parts.get(fresh.id) === fresh.innerHTML) continue;
    parts.set(fresh.id, fresh.innerHTML);
    const focused = shown.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    const chosen = new Map([...shown.querySelectorAll("select[id]")].map((one) => [one.id, one.value]));
    const opened = new Set([...shown.querySelectorAll("details[open][id]")].map((one) => one.id));
    shown.replaceChildren(...fresh.childNodes);
    for (const one of shown.querySelectorAll("details[id]")) if (opened.has(one.id)) one.open = true;
    for (const one of shown.querySelectorAll("select[id]")) if (chosen.has(one.id)) one.value = chosen.get(one.id);
    if (focused) [...shown.querySelectorAll("a, button, select, summary")].find((one) => keyOf(one) === focused)?.focus();
    tellTimes(shown);
  }
}

function stayFresh(address) {
  let waiting = null;
  let polling = null;
  const soon = () => {
    if (waiting === null && !document.hidden) {
      waiting = setTimeout(() => { waiting = null; refresh(); }, CALM);
    }
  };
  const poll = () => { polling ??= setInterval(soon, POLL); };
  document.addEventListener("visibilitychange", soon);
  setInterval(soon, REST);
  if (!("EventSource" in window)) return poll();
  const stream = new EventSource(address);
  stream.addEventListener("change", soon);
  stream.addEventListener("open", () => { clearInterval(polling); polling = null; soon(); });
  stream.addEventListener("error", poll); // until it is open again; closed for good where there is no room
}

for (const part of partsOf(document)) parts.set(part.id, part.innerHTML);
tellTimes(document);
const live = document.querySelector("main[data-live]");
if (live) stayFresh(live.dataset.live);

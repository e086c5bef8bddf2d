/* The log of what runs: lines are appended as they come. All text is set as text, never as markup. */
"use strict";

const list = document.getElementById("log");
const told = document.getElementById("told");
const pause = document.getElementById("pause");
const stay = document.getElementById("end");
const MOST = 20000; // lines in the page
let held = null; // lines that came while it pauses
let newest = Number(list.lastElementChild?.id.slice(1) ?? 0);

function shown(number, pieces) {
  const item = document.createElement("li");
  item.id = `L${number}`;
  const link = document.createElement("a");
  link.href = `#L${number}`;
  link.textContent = number;
  link.setAttribute("aria-label", `Line ${number}`);
  const text = document.createElement("span");
  text.className = "text";
  for (const [classes, words] of pieces) {
    const piece = document.createElement("span");
    if (classes) piece.className = classes;
    piece.textContent = words;
    text.append(piece);
  }
  item.append(link, text);
  return item;
}

function append(lines) {
  const fresh = lines.filter(([number]) => number > newest);
  if (!fresh.length) return;
  newest = fresh[fresh.length - 1][0];
  list.append(...fresh.map(([number, pieces]) => shown(number, pieces)));
  while (list.childElementCount > MOST) list.firstElementChild.remove();
  if (stay.checked) list.lastElementChild.scrollIntoView({ block: "end" });
}

function follow() {
  const stream = new EventSource(`${list.dataset.stream}?after=${list.dataset.after}`);
  stream.addEventListener("lines", (event) => {
    const lines = JSON.parse(event.data);
    if (held) held.push(...lines);
    else append(lines);
  });
  stream.addEventListener("end", () => {
    stream.close();
    told.textContent = list.dataset.ended;
    if (!held && "kept" in list.dataset) setTimeout(() => location.reload(), 1500); // it is there soon
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
    told.textContent = "There is no stream to be had; the page is loaded again every few seconds.";
    setTimeout(() => location.reload(), 10000);
  });
  pause.addEventListener("click", () => {
    const pauses = held === null;
    pause.setAttribute("aria-pressed", String(pauses));
    pause.textContent = pauses ? "Go on" : "Pause";
    const lines = held;
    held = pauses ? [] : null;
    if (lines) append(lines);
  });
  document.getElementById("controls").hidden = false;
}

if ("EventSource" in window) follow();

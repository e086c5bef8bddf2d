"use strict";

function sexagesimal(degrees, positive, negative) {
  const seconds = Math.round(Math.abs(degrees) * 3600);
  const side = degrees < 0 ? negative : positive;
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60, side].join("|");
}

function show() {
  const latitude = parseFloat(document.getElementById("latitude").value);
  const longitude = parseFloat(document.getElementById("longitude").value);
  const good = Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  document.getElementById("template").textContent = good
    ? `{{Coord|${sexagesimal(latitude, "N", "S")}|${sexagesimal(longitude, "E", "W")}|display=title}}`
    : "These are not coordinates.";
}

document.addEventListener("input", show);
show();

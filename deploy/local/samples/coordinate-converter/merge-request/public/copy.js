"use strict";

const button = document.getElementById("copy");

button.addEventListener("click", async () => {
  await navigator.clipboard.writeText(document.getElementById("template").textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

"use strict";

// Tables: each heading becomes a button that sorts the rows of each block.
function valueOf(cell) {
  const text = cell ? cell.textContent.trim() : "";
  if (!cell || !cell.classList.contains("number")) return text;
  const match = text.replace("\u2212", "-").match(/[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i);
  return match ? Number(match[0]) : "";
}
const collator = new Intl.Collator(undefined, { numeric: true });
function compare(one, other) {
  return typeof one === "number" ? one - other : collator.compare(one, other);
}
function sortBy(table, column, down) {
  for (const body of table.tBodies) {
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([one], [other]) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      return down ? compare(other, one) : compare(one, other);
    });
    body.append(...rows.map(([, row]) => row));
  }
}
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const short = [...table.tBodies].every((body) => body.rows.length < 2);
  if (short || (heads.length < 3 && !table.querySelector(".number"))) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", now === first ? second : first);
      sortBy(table, column, head.getAttribute("aria-sort") === "descending");
    });
  });
}

// What is larger than its place can be scrolled with the keyboard.
function markLarge() {
  for (const box of document.querySelectorAll(".table")) {
    const large = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    for (const [name, value] of [["tabindex", "0"], ["role", "region"],
      ["aria-label", box.querySelector("caption").textContent]]) {
      if (large) box.setAttribute(name, value); else box.removeAttribute(name);
    }
  }
}
addEventListener("resize", markLarge);
document.addEventListener("toggle", markLarge, true);
markLarge();

// Light and dark.
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}
function nameTheme() { theme.textContent = isDark() ? "Light" : "Dark"; }
theme.hidden = false;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
nameTheme();

// Players: the cursor follows the sound; a click or a key on the waveform seeks.
let playing = null;
for (const player of document.querySelectorAll(".player")) {
  const audio = player.querySelector("audio");
  const wave = player.querySelector(".wave");
  const cursor = player.querySelector(".cursor");
  const seconds = Number(wave.dataset.seconds);
  const played = Number(wave.dataset.played);
  wave.tabIndex = 0;
  wave.setAttribute("role", "slider");
  wave.setAttribute("aria-label", `Position in ${audio.getAttribute("aria-label")}`);
  wave.setAttribute("aria-valuemin", "0");
  wave.setAttribute("aria-valuemax", played.toFixed(2));
  const show = () => {
    const now = audio.currentTime;
    cursor.style.left = `${Math.min(100, (100 * now) / seconds)}%`;
    wave.setAttribute("aria-valuenow", now.toFixed(2));
    wave.setAttribute("aria-valuetext", `${now.toFixed(2)} of ${seconds.toFixed(2)} seconds`);
  };
  const follow = () => {
    show();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const seek = (time) => {
    audio.currentTime = Math.max(0, Math.min(played, time));
    show();
  };
  audio.addEventListener("play", () => {
    if (playing && playing !== audio) playing.pause();
    playing = audio;
    follow();
  });
  audio.addEventListener("seeked", show);
  audio.addEventListener("ended", show);
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    seek((seconds * (event.clientX - box.left)) / box.width);
  });
  wave.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.1, ArrowRight: 0.1, ArrowDown: -0.1, ArrowUp: 0.1,
      PageDown: -1, PageUp: 1 }[event.key];
    if (step) seek(audio.currentTime + step);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(played);
    else if (event.key === " " || event.key === "Enter") {
      if (audio.paused) audio.play(); else audio.pause();
    } else return;
    event.preventDefault();
  });
  show();
}

// On paper everything is open.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((each) => { each.open = true; });
});
addEventListener("afterprint", () => {
  opened.forEach((each) => { each.open = false; });
});

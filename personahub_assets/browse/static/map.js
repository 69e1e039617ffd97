// The map: points on a canvas, moved and zoomed; hovering shows the text, a click opens the persona.
"use strict";

const holder = document.getElementById("map"), canvas = holder.querySelector("canvas"), pen = canvas.getContext("2d");
const tip = document.getElementById("tip"), wait = document.getElementById("wait"), legend = document.getElementById("legend");
const colour = document.getElementById("colour"), mark = document.getElementById("mark");
const COLOURS = ["#4f8ef7", "#f2994a", "#27ae60", "#bb6bd9", "#eb5757", "#2dbdb6", "#c9a227", "#8d99ae"];
const MARGIN = 24, REACH = 9;
let points = null, groups = [], marked = null, view = { x: 0, y: 0, zoom: 1 }, hovered = -1, frame = 0;

const wide = () => canvas.clientWidth - 2 * MARGIN, high = () => canvas.clientHeight - 2 * MARGIN;
const left = (x) => MARGIN + (x * wide()) * view.zoom + view.x, top_ = (y) => MARGIN + (y * high()) * view.zoom + view.y;

function draw() {
  frame = 0;
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (!points) return;
  const size = Math.min(5, 1.6 + 0.5 * view.zoom);
  groups.forEach((members, number) => {
    pen.fillStyle = COLOURS[number % COLOURS.length];
    pen.globalAlpha = marked ? 0.12 : 0.7;
    for (const at of members) dot(at, size);
  });
  if (marked) {
    pen.globalAlpha = 1;
    pen.fillStyle = "#eb5757";
    for (const at of marked) dot(at, size + 1.5);
  }
  if (hovered >= 0) {
    pen.globalAlpha = 1;
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(left(points.x[hovered]), top_(points.y[hovered]), size + 4, 0, 7);
    pen.stroke();
  }
}
function dot(at, size) {
  pen.beginPath();
  pen.arc(left(points.x[at]), top_(points.y[at]), size, 0, 7);
  pen.fill();
}
const redraw = () => { frame ||= requestAnimationFrame(draw); };

function group() {
  const values = points[colour.value], names = [...new Set(values)].sort();
  const number = new Map(names.map((name, index) => [name, Math.min(index, COLOURS.length - 1)]));
  groups = Array.from({ length: Math.min(names.length, COLOURS.length) }, () => []);
  values.forEach((value, at) => groups[number.get(value)].push(at));
  legend.replaceChildren(...groups.map((members, index) => {
    const entry = document.createElement("span"), sign = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    sign.setAttribute("viewBox", "0 0 10 10");
    for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 4, fill: COLOURS[index] })) circle.setAttribute(key, value);
    sign.append(circle);
    const rest = index === COLOURS.length - 1 && names.length > COLOURS.length;
    entry.append(sign, rest ? `${names.length - index} others` : ` ${colour.value === "hop" ? "hop " : ""}${names[index]}`);
    return entry;
  }));
  redraw();
}
function find() {
  const word = mark.value.trim().toLowerCase();
  marked = word && points ? [...points.text.keys()].filter((at) => points.text[at].toLowerCase().includes(word)) : null;
  redraw();
}
function nearest(x, y) {
  let best = -1, least = REACH * REACH;
  for (let at = 0; at < points.x.length; at++) {
    const square = (left(points.x[at]) - x) ** 2 + (top_(points.y[at]) - y) ** 2;
    if (square < least) { best = at; least = square; }
  }
  return best;
}
function hover(x, y) {
  const at = points ? nearest(x, y) : -1;
  if (at !== hovered) { hovered = at; redraw(); }
  tip.hidden = at < 0;
  canvas.classList.toggle("over", at >= 0);
  if (at < 0) return;
  tip.textContent = points.text[at];
  tip.classList.toggle("right", x > canvas.clientWidth / 2);
  tip.classList.toggle("low", y > canvas.clientHeight / 2);
}
function zoom(by, x, y) {
  const next = Math.min(60, Math.max(0.8, view.zoom * by)), real = next / view.zoom;
  view = { zoom: next, x: x - MARGIN - (x - MARGIN - view.x) * real, y: y - MARGIN - (y - MARGIN - view.y) * real };
  redraw();
}

const fingers = new Map();
let moved = 0, spread = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  if (fingers.size === 1) moved = 0;
  spread = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return hover(event.offsetX, event.offsetY);
  fingers.set(event.pointerId, event);
  moved += Math.abs(event.offsetX - before.offsetX) + Math.abs(event.offsetY - before.offsetY);
  if (fingers.size === 1) {
    view.x += event.offsetX - before.offsetX;
    view.y += event.offsetY - before.offsetY;
    redraw();
  } else {
    const [one, two] = [...fingers.values()], apart = Math.hypot(one.offsetX - two.offsetX, one.offsetY - two.offsetY);
    if (spread) zoom(apart / spread, (one.offsetX + two.offsetX) / 2, (one.offsetY + two.offsetY) / 2);
    spread = apart;
  }
});
const release = (event) => { fingers.delete(event.pointerId); spread = 0; };
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerup", (event) => {
  release(event);
  const at = points && moved < 6 ? nearest(event.offsetX, event.offsetY) : -1;
  if (at < 0) return;
  if (event.pointerType !== "mouse" && at !== hovered) return hover(event.offsetX, event.offsetY);  // a second tap opens
  location.assign(`/personas/${encodeURIComponent(points.id[at])}`);
});
canvas.addEventListener("pointerleave", () => { hovered = -1; tip.hidden = true; redraw(); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
  if (step) { view.x += step[0]; view.y += step[1]; redraw(); event.preventDefault(); }
  if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.3 : 1 / 1.3, canvas.clientWidth / 2, canvas.clientHeight / 2);
});
document.getElementById("fit").addEventListener("click", () => { view = { x: 0, y: 0, zoom: 1 }; redraw(); });
colour.addEventListener("change", group);
mark.addEventListener("input", find);
new ResizeObserver(redraw).observe(canvas);

fetch("/map/points").then((answer) => answer.json()).then((loaded) => {
  if (loaded.error) { wait.textContent = loaded.error; return; }
  points = loaded;
  wait.remove();
  group();
}).catch(() => { wait.textContent = "The map could not be loaded."; });

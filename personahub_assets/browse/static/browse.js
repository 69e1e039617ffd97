// Partial updates: a form with data-live replaces #results, a link with data-more is replaced by the next page, and
// data-load is filled with a part of a page. Without this file forms and links load whole pages.
"use strict";

const part = (address, kind, signal) =>
  fetch(address, { headers: { "X-Part": kind }, signal }).then((answer) => answer.text());

// The server has escaped every text; the policy of the page runs no script in it.
const put = (place, html) => { place.innerHTML = html; ready(place); };

function ready(root) {
  for (const place of root.querySelectorAll("[data-load]")) {
    const address = place.dataset.load;
    place.removeAttribute("data-load");
    part(address, "results").then((html) => put(place, html)).catch(() => { place.textContent = "could not be loaded"; });
  }
  for (const link of root.querySelectorAll("[data-more]")) sight.observe(link);
}

async function follow(link) {
  sight.unobserve(link);
  link.classList.add("busy");
  const holder = document.createElement("template");
  try {
    holder.innerHTML = await part(link.href, "more");
  } catch { link.classList.remove("busy"); return; }
  const added = [...holder.content.children];
  link.replaceWith(holder.content);
  for (const element of added) {
    ready(element);
    if (element.matches("[data-more]")) sight.observe(element);
  }
}

const sight = new IntersectionObserver(
  (entries) => entries.forEach((entry) => { if (entry.isIntersecting) follow(entry.target); }), { rootMargin: "600px" });

function live(form) {
  const results = document.getElementById("results");
  let current = new AbortController(), clock = 0;
  const show = async () => {
    current.abort();
    current = new AbortController();
    const values = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(values).toString();
    const address = form.getAttribute("action") + (query && `?${query}`);
    results.classList.add("busy");
    try {
      put(results, await part(address, "results", current.signal));
      history.replaceState(null, "", address);
      results.classList.remove("busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      results.textContent = "The server does not answer. Start it again: personahub browse";
      results.classList.remove("busy");
    }
  };
  const soon = (delay) => { clearTimeout(clock); clock = setTimeout(show, delay); };
  form.addEventListener("submit", (event) => { event.preventDefault(); soon(0); });
  form.addEventListener("change", (event) => { if (event.target.type !== "search") soon(0); });
  form.addEventListener("input", (event) => { if (event.target.type === "search") soon(250); });
}

document.addEventListener("toggle", (event) => {
  if (!event.target.open) return;
  for (const place of event.target.querySelectorAll("[data-load-open]")) {
    place.dataset.load = place.dataset.loadOpen;
    place.removeAttribute("data-load-open");
  }
  ready(event.target);
}, true);
document.querySelectorAll("form[data-live]").forEach(live);
if (matchMedia("(max-width: 48rem)").matches) document.querySelectorAll(".narrow").forEach((each) => { each.open = false; });
ready(document);

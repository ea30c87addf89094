// Keeps a page up to date: fetches it again every few seconds and puts the new <main> in the place of the old.
// Pages work without it. Nothing is swapped while it would take something from under the reader's hands.
"use strict";
(() => {
  const EVERY = 5000;
  const button = document.getElementById("live");
  const told = document.getElementById("told");
  if (!button || button.dataset.live !== "on") return;
  let isOn = true;
  let isTouched = false;
  let isAsking = false;
  let updated = new Date();

  const show = () => {
    button.setAttribute("aria-pressed", String(isOn));
    button.title = isOn ? "Refreshed every 5 s; press to stop" : "Press to refresh every 5 s";
  };
  const main = () => document.getElementById("main");
  const isBusy = () => {
    const selection = document.getSelection();
    const focus = document.activeElement;
    return document.hidden || isTouched || (selection && !selection.isCollapsed) ||
      (focus && main().contains(focus) && /^(INPUT|SELECT|TEXTAREA)$/.test(focus.tagName));
  };

  // The same link or button of another version of the page. Not the one at its place: rows move, and under the reader's
  // key may be another row's button, or Replay where Cancel was.
  const twin = (element, next) => {
    const told = (one) => [one.tagName, one.getAttribute("href"), one.formAction, one.name, one.value,
      one.getAttribute("aria-label"), one.textContent, ...[...(one.form?.elements ?? [])].map((field) => field.type === "hidden" ? field.value : "")].join("\n");
    const sought = told(element);
    return [...next.querySelectorAll(element.tagName)].find((one) => told(one) === sought);
  };

  // What the reader has opened, scrolled to and focused stays so.
  const keep = (old, next) => {
    const was = old.querySelectorAll("details");
    next.querySelectorAll("details").forEach((details, n) => { if (was[n]) details.open = was[n].open; });
    const focused = document.activeElement;
    const again = old.contains(focused) ? twin(focused, next) : undefined;
    const scrolled = [...old.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
    old.replaceWith(next);
    next.querySelectorAll(".scroll").forEach((element, n) => { element.scrollLeft = scrolled[n] || 0; });
    again?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (!isOn || isAsking || isBusy()) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", redirect: "error" });
      const text = await answer.text();
      if (!answer.ok) throw new Error(String(answer.status));
      const next = new DOMParser().parseFromString(text, "text/html").getElementById("main");
      if (next && isOn && !isBusy()) keep(main(), document.adoptNode(next));
      updated = new Date();
      told.textContent = "";
    } catch {
      told.textContent = `Not up to date since ${updated.toISOString().slice(11, 19)}: the page cannot be fetched.`;
    } finally {
      isAsking = false;
    }
  };

  document.addEventListener("input", (event) => { if (main().contains(event.target)) isTouched = true; });
  document.addEventListener("submit", () => { isOn = false; });
  button.addEventListener("click", () => {
    isOn = !isOn;
    isTouched = false;
    show();
    refresh();
  });
  button.hidden = false;
  show();
  setInterval(refresh, EVERY);
})();

"use strict";
// Which sections a reader has read and which quiz questions were answered right. It is kept in this
// browser's localStorage under one key and goes nowhere else; the page "Your progress" shows it and
// can clear it. contents.js says what there is to read; without JavaScript there are no ticks.
//
// A section counts as read when its end has been on the screen and the section itself for a fifth of
// the time it takes to read. The button at its end sets or removes the tick by hand.
(() => {
  const KEY = "glassbox.progress.1";
  const pages = window.glassboxContents ?? [];
  const html = document.documentElement;
  const root = new URL(html.dataset.content_root ?? "./", location.href).href;
  const here = pages.find((page) => location.href.split(/[?#]/)[0] === `${root}${page.name}.html`);

  // --- what is kept: {page: {section or question: 1}} -----------------------------------------------

  let memory = "{}";                                // where the browser keeps nothing
  function load() {
    let text = memory;
    try { text = localStorage.getItem(KEY) ?? "{}"; } catch { /* storage is switched off */ }
    try {
      const kept = JSON.parse(text);
      return kept && typeof kept === "object" ? kept : {};
    } catch { return {}; }
  }
  function save(kept) {
    memory = JSON.stringify(kept);
    try { localStorage.setItem(KEY, memory); } catch { /* storage is switched off or full */ }
    show();
  }
  function set(name, item, done) {
    const kept = load();
    kept[name] ??= {};
    if (done) kept[name][item] = 1;
    else delete kept[name][item];
    save(kept);
  }
  const has = (name, item, kept = load()) => Boolean(kept[name]?.[item]);
  function count(page, kept = load()) {
    const items = page.sections.map(([id]) => id);
    return {
      read: items.filter((id) => has(page.name, id, kept)).length,
      sections: items.length,
      right: page.quiz.filter((id) => has(page.name, id, kept)).length,
      questions: page.quiz.length,
    };
  }

  // --- small helpers for the page -------------------------------------------------------------------

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  // A short sign for the eye and the same in words for a screen reader.
  const sign = (seen, spoken) => element("span", { class: "gb-sign" },
    element("span", { "aria-hidden": "true" }, seen),
    element("span", { class: "visually-hidden" }, spoken));
  const refresh = [];                               // each redraws one part of the page
  const show = () => refresh.forEach((redraw) => redraw());

  // --- ticks in the sidebar and in the contents of the page -----------------------------------------

  function sidebar() {
    for (const link of document.querySelectorAll(".bd-sidebar-primary .bd-links a.reference")) {
      const page = pages.find(({ name }) => link.href.split("#")[0] === `${root}${name}.html`);
      if (!page) continue;
      const box = link.appendChild(element("span", { class: "gb-count" }));
      refresh.push(() => {
        const { read, sections } = count(page);
        if (!read) box.replaceChildren();
        else if (read === sections) box.replaceChildren(sign("✓", ", done"));
        else box.replaceChildren(sign(`${read}/${sections}`, `, ${read} of ${sections} sections read`));
      });
    }
  }
  function pageContents() {
    for (const [id] of here.sections) {
      const link = document.querySelector(`.bd-sidebar-secondary a[href="#${CSS.escape(id)}"]`);
      if (!link) continue;
      const box = link.appendChild(element("span", { class: "gb-count" }));
      refresh.push(() => box.replaceChildren(has(here.name, id) ? sign("✓", ", read") : ""));
    }
  }
  function facts() {
    const line = document.querySelector(".gb-facts");
    if (!line) return;
    const box = line.appendChild(element("li", { class: "gb-read" }));
    refresh.push(() => {
      const { read, sections } = count(here);
      box.hidden = !read || sections < 2;
      box.textContent = `${read} of ${sections} sections read`;
    });
  }

  // --- the button at the end of each section --------------------------------------------------------

  function buttons() {
    const watched = [];
    for (const [id, title, seconds] of here.sections) {
      const section = id === "done"
        ? document.querySelector("article.bd-article > section")
        : document.getElementById(id);
      if (!section) continue;
      const what = id === "done" ? "Lab done" : "Section read";
      const button = element("button", { type: "button", class: "gb-tick", "aria-pressed": "false" },
        what);
      if (id !== "done") {
        button.append(element("span", { class: "visually-hidden" },
          `: ${title.replaceAll(/\\[()]/g, "")}`));
      }
      button.addEventListener("click", () => set(here.name, id, !has(here.name, id)));
      refresh.push(() => button.setAttribute("aria-pressed", String(has(here.name, id))));
      section.append(element("p", { class: "gb-end" }, button));
      if (id !== "done") {
        watched.push({ id, section, button, left: Math.max(5, seconds / 5), told: has(here.name, id) });
      }
    }
    window.setInterval(() => {
      if (document.hidden) return;
      for (const part of watched) {
        if (part.told) continue;
        const { top, bottom } = part.section.getBoundingClientRect();
        if (top < innerHeight && bottom > 0) part.left -= 1;
        const end = part.button.getBoundingClientRect();
        const seen = end.top >= 0 && end.bottom <= innerHeight;
        if (part.left > 0 || !seen) continue;
        part.told = true;                           // once: a tick that was removed stays removed
        set(here.name, part.id, true);
      }
    }, 1000);
  }

  // --- the quiz -------------------------------------------------------------------------------------

  function quizzes() {
    const all = [...document.querySelectorAll(".Quiz")];
    all.forEach((quiz, at) => {
      const id = here.quiz[at];
      if (!id) return;
      const box = element("p", { class: "gb-right" }, "✓ answered right");
      quiz.prepend(box);
      refresh.push(() => { box.hidden = !has(here.name, id); });
    });
    const check = (event) => {
      const quiz = event.target.closest?.(".Quiz");
      const feedback = quiz?.querySelector(".Feedback.correct");
      if (!feedback) return;
      const { numcorrect = "1", answeredcorrect = "1" } = feedback.dataset;
      const all_found = Number(numcorrect) < 2 || answeredcorrect === numcorrect;
      const id = here.quiz[all.indexOf(quiz)];
      if (id && all_found && !has(here.name, id)) set(here.name, id, true);
    };
    document.addEventListener("click", check);
    document.addEventListener("keyup", check);
  }

  // --- the page "Your progress" ---------------------------------------------------------------------

  function overview(box) {
    const status = element("p", { role: "status" });
    const next = element("p");
    const body = element("tbody");
    const head = element("tr", {}, ...["Page", "Sections read", "Quiz answered right"].map((text) =>
      element("th", { scope: "col" }, text)));
    const clear = element("button", { type: "button", class: "gb-button" }, "Clear my progress");
    const sure = element("span", { role: "group", "aria-label": "Clear everything?", hidden: "" });
    const yes = element("button", { type: "button", class: "gb-button" }, "Yes, clear everything");
    const no = element("button", { type: "button", class: "gb-button" }, "No, keep it");
    sure.append(yes, " ", no);
    const ask = (open) => {
      sure.hidden = !open;
      clear.hidden = open;
      (open ? no : clear).focus();
    };
    clear.addEventListener("click", () => ask(true));
    no.addEventListener("click", () => ask(false));
    yes.addEventListener("click", () => { save({}); ask(false); });
    const link = (page, id, text) =>
      element("a", { href: `${root}${page.name}.html${id ? `#${id}` : ""}` }, text);
    const caption = element("caption", { class: "visually-hidden" }, "What you have read");
    box.replaceChildren(status, next,
      element("div", { class: "pst-scrollable-table-container", tabindex: "0", role: "region",
        "aria-label": "What you have read" },
        element("table", { class: "table gb-progress" }, caption, element("thead", {}, head), body)),
      element("p", {}, clear, sure));
    box.classList.add("mathjax_process", "tex2jax_process");

    refresh.push(() => {
      const kept = load();
      const sums = pages.map((page) => count(page, kept));
      const sum = (field) => sums.reduce((total, one) => total + one[field], 0);
      status.textContent = `You have read ${sum("read")} of ${sum("sections")} sections and answered `
        + `${sum("right")} of ${sum("questions")} quiz questions right.`;
      const unread = (page) => page.sections.find(([id]) => !has(page.name, id, kept));
      const begun = pages.filter((each, at) => sums[at].read && unread(each));
      const page = begun.at(-1) ?? pages.find(unread);
      next.replaceChildren(...(page && sum("read")
        ? ["Go on with ", link(page, unread(page)[0] === "done" ? "" : unread(page)[0],
            page.sections.length > 1 ? `${page.title}: ${unread(page)[1]}` : page.title), "."]
        : page ? ["Begin with ", link(page, "", page.title), "."] : ["Nothing is left to read."]));
      body.replaceChildren(...pages.map((each, at) => {
        const { read, sections, right, questions } = sums[at];
        const done = read === sections ? "✓ " : "";
        const share = element("span", { class: "gb-bar", "aria-hidden": "true" }, element("span"));
        share.firstChild.style.width = `${(100 * read) / sections}%`;
        return element("tr", {},
          element("th", { scope: "row" }, link(each, "", each.title)),
          element("td", {}, share, `${done}${read} of ${sections}`),
          element("td", {}, questions ? `${right} of ${questions}` : "no quiz"));
      }));
      window.quizMath?.typeset([box]);
    });
  }

  sidebar();
  if (here) {
    pageContents();
    facts();
    buttons();
    // the quiz builds itself while the page loads
    if (document.readyState === "complete") quizzes();
    else window.addEventListener("load", () => { quizzes(); show(); });
  }
  const box = document.getElementById("gb-progress");
  if (box) overview(box);
  show();
  window.addEventListener("storage", (event) => { if (event.key === KEY || !event.key) show(); });
})();

"use strict";
// Hover tips, beside sphinx-tippy: tips for citations, and what WCAG 1.4.13 asks of every tip
// (it can be hovered, and Escape closes it). Loaded only where tippy is there. sphinx-tippy sets
// window.onload, so this file listens instead.
const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
tippy.setDefaultProps({
  appendTo: () => document.body,                    // else a table cuts the tip off
  aria: { content: "describedby", expanded: false },
  duration: still ? 0 : [150, 100],
  onCreate({ popper }) {                            // a glossary entry arrives without its list
    const content = popper.querySelector(".tippy-content");
    for (const element of content.querySelectorAll("[id]")) element.removeAttribute("id");
    if (!content.querySelector(":scope > dt")) return;
    const list = document.createElement("dl");
    list.append(...content.childNodes);
    content.append(list);
  },
});
window.addEventListener("load", () => {
  for (const link of document.querySelectorAll("article a.reference.internal[title]")) {
    tippy(link, {
      content: link.title,
      interactive: true,
      maxWidth: 420,
      placement: "bottom-start",
      theme: "glassbox",
    });
    link.removeAttribute("title");                  // else the browser shows a second tip
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tippy.hideAll();
});

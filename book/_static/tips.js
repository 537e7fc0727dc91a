"use strict";
// Hover tips, beside sphinx-tippy: tips for citations, and what WCAG 1.4.13 asks of every tip
// (it can be hovered, and Escape closes it). Loaded only where tippy is there. sphinx-tippy sets
// window.onload, so this file listens instead.
tippy.setDefaultProps({
  appendTo: () => document.body,                    // else a table or a margin note cuts the tip off
  aria: { content: "describedby", expanded: false },
});
window.addEventListener("load", () => {
  for (const link of document.querySelectorAll("article a.reference.internal[title]")) {
    tippy(link, { content: link.title, interactive: true, maxWidth: 420, theme: "glassbox" });
    link.removeAttribute("title");                  // else the browser shows a second tip
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tippy.hideAll();
});

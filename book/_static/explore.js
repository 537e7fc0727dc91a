"use strict";
// The host of explorers on a static page. A classic script that imports a module from a Blob, since
// <script type="module" src> is refused on file://. The model is anywidget's, without a kernel.
(async () => {
  const makeModel = (state) => {
    const listeners = {};
    return {
      get: (key) => state[key],
      set(key, value) {
        if (state[key] === value) return;
        state[key] = value;
        for (const heard of listeners[`change:${key}`] ?? []) heard();
      },
      on: (event, heard) => (listeners[event] ??= []).push(heard),
      off(event, heard) {
        listeners[event] = (listeners[event] ?? []).filter((other) => other !== heard);
      },
      save_changes() {},
    };
  };

  const modules = {};
  for (const script of document.querySelectorAll("script[data-module]")) {
    const url = URL.createObjectURL(
      new Blob([JSON.parse(script.textContent)], { type: "text/javascript" }));
    modules[script.dataset.module] = import(url);
  }
  for (const box of document.querySelectorAll(".ex-box")) {
    const el = box.querySelector(".ex-live");
    if (!el || box.closest(".tippy-box")) continue;
    el.dataset.captioned = "";
    const { default: explorer } = await modules[box.dataset.explorer];
    explorer.render({ model: makeModel(JSON.parse(box.dataset.state)), el });
    box.classList.add("ex-ready");
  }
})();

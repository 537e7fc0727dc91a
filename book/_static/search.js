"use strict";
// Passages under the search results, from search_text.js: no request, so it works from a file. Each
// result is a page; below it stand the sections that hold the words, with a link to each.
(() => {
  const query = new URLSearchParams(location.search).get("q") ?? "";
  const results = document.getElementById("search-results");
  if (!results || !query) return;
  const stemmer = typeof Stemmer === "function" ? new Stemmer() : { stemWord: (word) => word };
  const words = query.toLowerCase().split(/[^\p{L}\p{N}_]+/u).filter((word) => word.length > 1);
  const stems = words.map((word) => {
    const stem = stemmer.stemWord(word);
    return word.startsWith(stem) ? stem : word;
  });
  if (!stems.length) return;
  const escaped = stems.map((stem) => stem.replaceAll(/[^\p{L}\p{N}_]/gu, "\\$&"));
  const pattern = () => new RegExp(`(?<![\\p{L}\\p{N}_])(?:${escaped.join("|")})`, "giu");

  const root = new URL(document.documentElement.dataset.content_root, location.href).href;
  const score = ([, title, text]) => {
    const low = `${title} ${text}`.toLowerCase();
    const found = stems.filter((stem) => low.includes(stem)).length;
    return found * 1000 + Math.min(99, low.match(pattern())?.length ?? 0);
  };

  // About 200 characters around the first word that is found, with every hit marked.
  function excerpt(text) {
    const at = pattern().exec(text)?.index ?? 0;
    const from = at < 80 ? 0 : text.lastIndexOf(" ", at - 60) + 1;
    const end = text.indexOf(" ", from + 200);
    const part = text.slice(from, end < 0 ? undefined : end);
    const shown = document.createDocumentFragment();
    shown.append(from ? "… " : "");
    let last = 0;
    for (const hit of part.matchAll(pattern())) {
      const mark = document.createElement("mark");
      mark.textContent = hit[0];
      shown.append(part.slice(last, hit.index), mark);
      last = hit.index + hit[0].length;
    }
    shown.append(part.slice(last), end < 0 ? "" : " …");
    return shown;
  }

  function explain(item) {
    const link = item.querySelector("a");
    if (!link || item.dataset.explained) return;
    item.dataset.explained = "yes";
    const url = new URL(link.href);
    const name = url.href.slice(root.length).replace(/\.html.*$/, "");
    const anchor = decodeURIComponent(url.hash.slice(1));
    const all = window.glassboxText?.[name] ?? [];
    const exact = all.filter(([id]) => anchor && id === anchor);
    const best = (exact.length ? exact : all)
      .map((passage) => [score(passage), passage])
      .filter(([points]) => points >= 1000)
      .sort(([a], [b]) => b - a)
      .slice(0, exact.length ? 1 : 3);
    for (const [, [id, title, text]] of best) {
      const line = document.createElement("p");
      line.className = "gb-hit";
      if (!exact.length && id !== all[0][0]) {
        const there = document.createElement("a");
        there.href = `${root}${name}.html#${id}`;
        there.textContent = title;
        line.append(there, ": ");
      }
      line.append(excerpt(text));
      item.append(line);
    }
  }
  const explainAll = () => results.querySelectorAll("ul.search > li").forEach(explain);
  new MutationObserver(explainAll).observe(results, { childList: true, subtree: true });
  explainAll();
})();

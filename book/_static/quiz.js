"use strict";
// What jupyterquiz needs beside its own script, which stands in the page and runs before this page's
// other scripts. `quizMath` takes the place of MathJax in it (see glassbox_site.py): a formula is set
// once MathJax is there, however late that is. The rest is what a screen reader needs: each question
// is a named group of options, and the explanation is read out when it appears.
window.quizMath = {
  version: "3",
  typeset(parts) {
    const ready = () => window.MathJax?.startup?.promise;
    const set = () => ready()?.then(() => window.MathJax.typesetPromise(parts));
    if (ready()) set();
    else window.addEventListener("load", set, { once: true });
  },
};
document.addEventListener("DOMContentLoaded", () => {
  for (const quiz of document.querySelectorAll(".Quiz")) {
    const question = quiz.querySelector("[id^=quizQn]");
    const answers = quiz.querySelector(".Answer");
    if (question && answers) {
      answers.setAttribute("role", "group");
      answers.setAttribute("aria-labelledby", question.id);
    }
    quiz.querySelector(".Feedback")?.setAttribute("role", "status");
  }
});

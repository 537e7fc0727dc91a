"use strict";
// What jupyterquiz needs beside its own script, which stands in the page and runs before this page's
// other scripts. `quizMath` takes the place of MathJax in it (see glassbox_site.py): a formula is set
// once MathJax is there, however late that is. The rest is what a screen reader needs: each question
// is a named group of options, and the explanation is read out when it appears. On a page with
// `<p class="quiz-score"></p>` the answers right at the first try are counted there.
window.quizMath = {
  version: "3",
  typeset(parts) {
    const ready = () => window.MathJax?.startup?.promise;
    const set = () => ready()?.then(() => window.MathJax.typesetPromise(parts));
    if (ready()) set();
    else window.addEventListener("load", set, { once: true });
  },
};
function keepScore(score, quizzes) {
  const firstTries = new Map();
  const show = () => {
    const right = [...firstTries.values()].filter(Boolean).length;
    score.textContent = `Right at the first try: ${right}. Answered: ${firstTries.size} `
      + `of ${quizzes.length}.`;
  };
  for (const quiz of quizzes) {
    const feedback = quiz.querySelector(".Feedback");
    new MutationObserver(() => {
      if (firstTries.has(quiz) || !/correct/.test(feedback.className)) return;
      firstTries.set(quiz, feedback.classList.contains("correct"));
      show();
    }).observe(feedback, { attributes: true, attributeFilter: ["class"] });
  }
  score.setAttribute("role", "status");
  show();
}
document.addEventListener("DOMContentLoaded", () => {
  const score = document.querySelector("p.quiz-score");
  if (score) keepScore(score, [...document.querySelectorAll(".Quiz")]);
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

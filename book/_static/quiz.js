"use strict";
// What jupyterquiz leaves out for a screen reader: each question is a named group of options, and
// the explanation is read out when it appears.
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

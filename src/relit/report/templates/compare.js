"use strict";
// Without it, and on paper, the pictures stand side by side.
document.documentElement.classList.add("live");
for (const figure of document.querySelectorAll(".photograph")) {
  const stage = figure.querySelector(".stage");
  const range = figure.querySelector("input");
  const [left, right] = figure.querySelectorAll("select");
  const show = () => {
    figure.style.setProperty("--cut", `${range.value}%`);
    stage.querySelectorAll(".panel").forEach((panel, place) => {
      panel.classList.toggle("left", place === Number(left.value));
      panel.classList.toggle("right", place === Number(right.value));
    });
  };
  const drag = (event) => {
    if (event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  figure.addEventListener("input", show);
}

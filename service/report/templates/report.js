"use strict";
(() => {
  const steps = JSON.parse(document.getElementById("promise-steps").textContent);
  const slider = document.getElementById("alpha");
  const perDay = document.getElementById("per-day");
  const line = document.getElementById("threshold-line");
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const count = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
  const update = () => {
    const [alpha, bound, threshold, x] = steps[Number(slider.value)];
    const records = Math.max(0, Number(perDay.value) || 0);
    show("alarms", count(alpha * records));
    show("bound", count(bound * records));
    show("alpha-value", alpha.toPrecision(3));
    show("threshold-value", threshold.toPrecision(4));
    slider.setAttribute("aria-valuetext", "alpha " + alpha.toPrecision(3));
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  };
  slider.addEventListener("input", update);
  perDay.addEventListener("input", update);
  document.documentElement.classList.add("has-script");
  update();
})();

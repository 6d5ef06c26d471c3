"use strict";
// Draws the figures of the page from the JSON beside each, and works their sliders, lists and play buttons.
(() => {
  const figures = [];
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };

  const isTable = (value) => value && typeof value === "object" && !Array.isArray(value);
  const merge = (base, over) => {
    const merged = { ...base };
    for (const [key, value] of Object.entries(over || {})) {
      merged[key] = isTable(value) && isTable(merged[key]) ? merge(merged[key], value) : value;
    }
    return merged;
  };

  const make = (name, fields, parent) => {
    const element = Object.assign(document.createElement(name), fields);
    if (parent) parent.append(element);
    return element;
  };

  const draw = (figure) => {
    const frame = figure.frames[figure.at];
    const layout = merge({ autosize: true, ...figure.layout }, frame.layout);
    figure.stale = false;
    // Plotly writes into what it is given: it gets a copy, so that a frame is the same when it comes round again.
    return Plotly.react(figure.canvas, structuredClone(frame.data), structuredClone(layout), settings);
  };

  // What is out of sight is drawn when it comes into sight: play stays smooth.
  const sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const figure = figures.find((one) => one.canvas === target);
      figure.seen = isIntersecting;
      if (isIntersecting && figure.stale) draw(figure);
    }
  }, { rootMargin: "200px" });

  // The frame of one figure that goes with a frame of another: of the same epoch or nearest to it, or of one name.
  const match = (frames, wanted) => {
    if (wanted.epoch === null) return frames.findIndex((frame) => frame.label === wanted.label);
    const away = frames.map((frame) => Math.abs(frame.epoch - wanted.epoch));
    return away.indexOf(Math.min(...away));
  };

  const show = (figure, at) => {
    const wanted = figure.frames[at];
    for (const other of figures) {
      if (other !== figure && (!figure.group || other.group !== figure.group || other.run !== figure.run)) continue;
      const found = other === figure ? at : match(other.frames, wanted);
      if (found < 0 || (found === other.at && other !== figure)) continue;
      other.at = found;
      const label = other.frames[found].label;
      if (other.input) other.input.value = found;
      if (other.output) {
        other.output.textContent = label;
        other.input.setAttribute("aria-valuetext", label);
      }
      if (other === figure || other.seen) draw(other);
      else other.stale = true;
    }
  };

  const addSlider = (figure, controls) => {
    const last = figure.frames.length - 1;
    const button = make("button", { type: "button", textContent: "Play" }, controls);
    button.setAttribute("aria-label", `Play: ${figure.title}`);
    const fields = { type: "range", min: 0, max: last, step: 1, value: figure.at };
    figure.input = make("input", fields, controls);
    figure.input.setAttribute("aria-label", `epoch, ${figure.title}`);
    figure.input.setAttribute("aria-valuetext", figure.frames[figure.at].label);
    figure.output = make("output", { textContent: figure.frames[figure.at].label }, controls);
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
      button.setAttribute("aria-label", `Play: ${figure.title}`);
    };
    figure.play = () => {
      button.textContent = "Pause";
      button.setAttribute("aria-label", `Pause: ${figure.title}`);
      show(figure, figure.at === last ? 0 : figure.at + 1);
      const pause = Math.max(180, Math.min(650, 9000 / last));
      timer = setInterval(() => (figure.at === last ? stop() : show(figure, figure.at + 1)), pause);
    };
    figure.input.addEventListener("input", () => { stop(); show(figure, Number(figure.input.value)); });
    button.addEventListener("click", () => (timer === null ? figure.play() : stop()));
  };

  const addList = (figure, controls) => {
    figure.input = make("select", { ariaLabel: "measure" }, controls);
    figure.frames.forEach((frame, i) => make("option", { value: i, textContent: frame.label }, figure.input));
    figure.input.value = figure.at;
    figure.input.addEventListener("change", () => show(figure, Number(figure.input.value)));
  };

  const prepare = (element) => {
    const figure = JSON.parse(element.querySelector("script").textContent);
    figure.canvas = element.querySelector(".canvas");
    figure.at = figure.start < 0 ? figure.frames.length + figure.start : figure.start;
    const controls = element.querySelector(".controls");
    if (figure.control === "slider") addSlider(figure, controls);
    if (figure.control === "select") addList(figure, controls);
    const x = figure.layout.xaxis || {};
    if (x.type === "log" && (x.title || {}).text === "epoch") figure.epochs = x;
    figures.push(figure);
    sight.observe(figure.canvas);
  };

  // One after the other, so that the page can be read while the rest is drawn.
  const drawAll = async () => {
    for (const figure of figures) {
      await draw(figure);
      await new Promise((next) => setTimeout(next));
    }
    document.documentElement.dataset.drawn = figures.length;
    // The collapse happens once by itself, for those who want things to move and are looking at it.
    const moves = !matchMedia("(prefers-reduced-motion: reduce)").matches && document.visibilityState === "visible";
    const first = figures.find((figure) => figure.plays && figure.play);
    if (moves && first && first.seen) first.play();
  };

  // The axes of the curves: epochs of every figure over epochs, values of those beside the lists alone.
  const setAxis = (list) => {
    const near = list.closest("section");
    for (const figure of figures) {
      if (!figure.epochs) continue;
      const log = list.value === "log";
      if (list.dataset.axis === "x") {
        figure.layout.xaxis = log ? figure.epochs : { ...figure.epochs, type: "linear", tickmode: "auto" };
        if (!log) for (const key of ["tickvals", "ticktext", "range"]) delete figure.layout.xaxis[key];
      } else if (near.contains(figure.canvas)) {
        figure.values = figure.values || figure.layout.yaxis;
        const { title, gridcolor, linecolor } = figure.values;
        const plain = { type: "log", automargin: true, exponentformat: "power", dtick: "D2" };
        const axis = { ...plain, gridcolor, linecolor, title: { ...title, standoff: 6 } };
        figure.layout.yaxis = log && figure.values.type !== "log" ? axis : figure.values;
      } else continue;
      draw(figure);
    }
  };

  // Paper is narrower, and a print waits for nothing: the figures are set to its width at once.
  const main = document.querySelector("main");
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open]):not(.long)")];
    closed.forEach((details) => { details.open = true; });
    main.style.maxWidth = "720px";  // as in the style for print, with the padding of the screen
    for (const figure of figures) {
      if (figure.stale) draw(figure);
      Plotly.relayout(figure.canvas, { width: figure.canvas.clientWidth });
    }
  });
  addEventListener("afterprint", () => {
    closed.forEach((details) => { details.open = false; });
    main.style.maxWidth = "";
    figures.forEach((figure) => Plotly.relayout(figure.canvas, { width: null, autosize: true }));
  });

  document.querySelectorAll("figure.plot").forEach(prepare);
  document.querySelectorAll("select[data-axis]").forEach((list) => {
    list.addEventListener("change", () => setAxis(list));
  });
  drawAll();
})();

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
    // Plotly writes into what it is given: it gets a copy, so that a frame is the same when it comes round again.
    return Plotly.react(figure.canvas, structuredClone(frame.data), structuredClone(layout), settings);
  };

  const show = (figure, at) => {
    const name = figure.frames[at].label;
    for (const other of figures) {
      if (other !== figure && (!figure.group || other.group !== figure.group || other.run !== figure.run)) continue;
      const found = other === figure ? at : other.frames.findIndex((frame) => frame.label === name);
      if (found < 0 || (found === other.at && other !== figure)) continue;
      other.at = found;
      if (other.input) other.input.value = found;
      if (other.output) other.output.textContent = other.frames[found].label;
      draw(other);
    }
  };

  const addSlider = (figure, controls) => {
    const last = figure.frames.length - 1;
    const button = make("button", { type: "button", textContent: "Play" }, controls);
    const fields = { type: "range", min: 0, max: last, step: 1, value: figure.at, ariaLabel: "epoch" };
    figure.input = make("input", fields, controls);
    figure.output = make("output", { textContent: figure.frames[figure.at].label }, controls);
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    };
    figure.input.addEventListener("input", () => { stop(); show(figure, Number(figure.input.value)); });
    button.addEventListener("click", () => {
      if (timer !== null) return stop();
      button.textContent = "Pause";
      show(figure, figure.at === last ? 0 : figure.at + 1);
      timer = setInterval(() => (figure.at === last ? stop() : show(figure, figure.at + 1)), 650);
    });
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
    figures.push(figure);
  };

  // One after the other, so that the page can be read while the rest is drawn.
  const drawAll = async () => {
    for (const figure of figures) {
      await draw(figure);
      await new Promise((next) => setTimeout(next));
    }
    document.documentElement.dataset.drawn = figures.length;
  };

  const useAxis = (type) => {
    for (const figure of figures) {
      if (!figure.epochs) continue;
      const log = type === "log";
      figure.layout.xaxis = log ? figure.epochs : { ...figure.epochs, type, tickmode: "auto", autorange: true };
      if (!log) for (const key of ["tickvals", "ticktext", "range"]) delete figure.layout.xaxis[key];
      draw(figure);
    }
  };

  const resize = () => figures.forEach((figure) => Plotly.Plots.resize(figure.canvas));
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => { details.open = true; });
    document.querySelector("main").style.maxWidth = "680px";  // A4 and Letter less their margins
    resize();
  });
  addEventListener("afterprint", () => {
    closed.forEach((details) => { details.open = false; });
    document.querySelector("main").style.maxWidth = "";
    resize();
  });

  document.querySelectorAll("figure.plot").forEach(prepare);
  for (const figure of figures) {
    const x = figure.layout.xaxis || {};
    if (x.type === "log" && (x.title || {}).text === "epoch") figure.epochs = x;
  }
  const axis = document.querySelector(".axis select");
  if (axis) axis.addEventListener("change", () => useAxis(axis.value));
  drawAll();
})();

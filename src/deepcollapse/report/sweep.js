"use strict";
// Draws a sweep as its lists ask: medians of the runs that remain, over two settings or over one.
(() => {
  const MOST_CELLS = 120, MOST_BANDS = 5, ZERO_SHARE = 0.1, ZERO_STEP = 0.35, CLOSE = 0.09;
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };
  const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";

  // Plotly reads a little HTML in its texts.
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const power = (exponent) => `${exponent < 0 ? "⁻" : ""}${[...`${Math.abs(exponent)}`].map((d) => superscripts[d]).join("")}`;

  const show = (value, share, figures = 3) => {
    if (share) return `${Number((100 * value).toFixed(2))} %`;
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e5)) return `${Number(value.toPrecision(figures))}`;
    const [mantissa, exponent] = value.toExponential(figures - 1).split("e");
    const digits = `${Number(mantissa)}`;
    return `${digits === "1" ? "" : `${digits} × `}10${power(Number(exponent))}`;
  };

  // For a cell, where there is little room.
  const brief = (value, share) => show(value, share, Math.abs(value) >= 1e-3 ? 3 : 2);

  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };

  // Whether numbers are all above 0 (or some are 0, where that has a place) and far apart.
  const farApart = (values, zero = false) => {
    const positive = values.filter((value) => value > 0);
    if (positive.length < 2 || values.some((value) => value < 0 || (value === 0 && !zero))) return false;
    return Math.max(...positive) / Math.min(...positive) > (zero ? 15 : 30);
  };

  // Ticks of a logarithmic scale, as places and texts.
  const logTicks = (low, high) => {
    const every = Math.max(1, Math.round((high - low) / 5)), steps = high - low < 2.2 ? [1, 2, 5] : [1];
    const ticks = [];
    for (let e = Math.floor(low); e <= Math.ceil(high); e += 1) {
      if (e % every === 0) for (const step of steps) ticks.push([Math.log10(step) + e, show(step * 10 ** e, false, 1)]);
    }
    return ticks.filter(([place]) => place >= low - 0.05 && place <= high + 0.05);
  };

  const explore = (section) => {
    const data = JSON.parse(section.querySelector("script").textContent);
    const [DONE, FAILED] = ["done", "failed"].map((state) => data.states.indexOf(state));
    const one = (name) => section.querySelector(`select[name=${name}]`);
    const lists = { measure: one("measure"), x: one("x"), y: one("y") };
    const holds = [...section.querySelectorAll("select[name=hold]")];
    const figures = { heat: section.querySelector("figure.heat"), lines: section.querySelector("figure.lines") };
    const alone = data.settings.length === 1 ? 0 : data.settings.findIndex((setting) => setting.name !== "seed");

    const state = () => ({
      measure: Number(lists.measure.value),
      x: lists.x ? Number(lists.x.value) : alone,
      y: lists.y ? Number(lists.y.value) : -1,
    });

    // The runs that remain when the other settings are held, as the cells of a table.
    const cells = (at) => {
      const held = holds.map((list) => [Number(list.dataset.setting), Number(list.value)])
        .filter(([setting, value]) => value >= 0 && setting !== at.x && setting !== at.y);
      const across = data.settings[at.x].values.length;
      const up = at.y < 0 ? 1 : data.settings[at.y].values.length;
      const table = Array.from({ length: up }, () =>
        Array.from({ length: across }, () => ({ values: [], runs: 0, failed: 0, open: 0 })));
      for (const [how, places, values] of data.runs) {
        if (held.some(([setting, value]) => places[setting] !== value)) continue;
        const cell = table[at.y < 0 ? 0 : places[at.y]][places[at.x]];
        cell.runs += 1;
        if (how === FAILED) cell.failed += 1;
        else if (how !== DONE) cell.open += 1;
        const value = values[at.measure];
        if (value !== null && value !== undefined) cell.values.push(value);
      }
      return table;
    };

    const sign = (cell) => {
      if (!cell.runs) return "";
      return cell.failed ? "✗" : cell.open ? "○" : "–";
    };

    const hover = (cell, at, x, y) => {
      const measure = data.measures[at.measure], name = (setting, value) =>
        `${escaped(data.settings[setting].name)} ${escaped(data.settings[setting].values[value])}`;
      const lines = [name(at.x, x) + (at.y < 0 ? "" : `, ${name(at.y, y)}`)];
      if (cell.values.length) {
        const told = (value) => show(value, measure.share, 4);
        const count = cell.values.length;
        const spread = `median of ${count} runs, ${told(Math.min(...cell.values))} to ${told(Math.max(...cell.values))}`;
        lines.push(`<b>${told(median(cell.values))}</b>${count > 1 ? ` (${spread})` : ""}`);
      } else if (cell.runs === 0) lines.push("not in this sweep");
      if (cell.failed) lines.push(`✗ ${cell.failed} of ${cell.runs} runs failed`);
      if (cell.open) lines.push(`○ ${cell.open} of ${cell.runs} runs not done`);
      return lines.join("<br>");
    };

    // Where a setting's values stand on an axis: by their size, or one after the other where they are no numbers.
    const scale = (setting) => {
      const { numbers, values } = setting;
      let places = values.map((_, i) => i);
      if (numbers && farApart(numbers, true)) {
        const logs = numbers.filter((value) => value > 0).map(Math.log10);
        const zero = Math.min(...logs) - Math.max(ZERO_STEP, ZERO_SHARE * (Math.max(...logs) - Math.min(...logs)));
        places = numbers.map((value) => (value > 0 ? Math.log10(value) : zero));
      } else if (numbers) places = [...numbers];
      const span = Math.max(...places) - Math.min(...places) || 1, shown = [];
      places.forEach((place, i) => {
        if (!shown.length || place - places[shown[shown.length - 1]] >= CLOSE * span) shown.push(i);
      });
      return {
        places,
        axis: {
          title: { text: escaped(setting.name) },
          tickvals: shown.map((i) => places[i]),
          ticktext: shown.map((i) => escaped(values[i])),
          range: [Math.min(...places) - 0.05 * span, Math.max(...places) + 0.05 * span],
        },
      };
    };

    const names = (setting, title) => ({
      title: { text: escaped(title) },
      tickvals: setting.values.map((_, i) => i),
      ticktext: setting.values.map(escaped),
      range: [-0.5, setting.values.length - 0.5],
      showgrid: false,
      ticks: "",
      automargin: true,
    });

    const plan = (x, y, more) => {
      const base = structuredClone(data.layout);
      return { ...base, autosize: true, xaxis: { ...base.xaxis, ...x }, yaxis: { ...base.yaxis, ...y }, ...more };
    };

    const drawHeat = (at, table) => {
      const x = data.settings[at.x], y = data.settings[at.y], measure = data.measures[at.measure];
      const middles = table.map((row) => row.map((cell) => (cell.values.length ? median(cell.values) : null)));
      const known = middles.flat().filter((value) => value !== null);
      const log = farApart(known), place = (value) => (log ? Math.log10(value) : value);
      const low = known.length ? place(Math.min(...known)) : 0, high = known.length ? place(Math.max(...known)) : 1;
      const top = high > low ? high : low + 1;
      const colorbar = { thickness: 11, outlinewidth: 0, xpad: 6, tickfont: { size: 11 } };
      if (log) {
        const ticks = logTicks(low, high);
        Object.assign(colorbar, { tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, text]) => text) });
      } else if (measure.share) colorbar.tickformat = ".3~p";
      const roomy = x.values.length * y.values.length <= MOST_CELLS
        && figures.heat.clientWidth / x.values.length > 52;
      const annotations = [];
      table.forEach((row, j) => row.forEach((cell, i) => {
        const value = middles[j][i], share = value === null ? 0 : (place(value) - low) / (top - low);
        const partly = value !== null && cell.failed ? " ✗" : "";
        const text = value === null ? sign(cell) : roomy ? brief(value, measure.share) + partly : partly;
        const color = value === null ? (cell.failed ? "#b3261e" : "#5b626c") : share > 0.62 ? "#ffffff" : "#1b1f24";
        const font = { size: value === null ? 14 : 11, color };
        if (text) annotations.push({ x: i, y: j, text, showarrow: false, font });
      }));
      const trace = {
        type: "heatmap",
        z: middles.map((row) => row.map((value) => (value === null ? null : place(value)))),
        text: table.map((row, j) => row.map((cell, i) => hover(cell, at, i, j))),
        hovertemplate: "%{text}<extra></extra>",
        hoverongaps: true,
        colorscale: data.colors,
        zmin: low,
        zmax: top,
        xgap: 2,
        ygap: 2,
        colorbar,
      };
      const layout = plan(names(x, x.name), names(y, y.name), { annotations, plot_bgcolor: "#eceef1" });
      return Plotly.react(figures.heat.querySelector(".canvas"), [trace], layout, settings);
    };

    const faint = (color) =>
      `rgba(${[1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)).join(",")},0.15)`;

    const drawLines = (at, table) => {
      const x = data.settings[at.x], y = at.y < 0 ? null : data.settings[at.y], measure = data.measures[at.measure];
      const { places, axis } = scale(x), times = measure.share ? 100 : 1;
      const lines = table.map((row) => row.map((cell) => (cell.values.length ? times * median(cell.values) : null)));
      const known = lines.flat().filter((value) => value !== null);
      const log = farApart(known);
      const bands = [], curves = [];
      lines.forEach((values, j) => {
        const color = y ? y.colors[j] : "#0072b2";
        const spread = table[j].map((cell, i) => [i, cell.values.map((value) => times * value)])
          .filter(([, found]) => found.length).map(([i, found]) => [places[i], Math.min(...found), Math.max(...found)]);
        const some = spread.some(([, low, high]) => high > low);
        if (some && spread.length > 1 && lines.length <= MOST_BANDS) {
          const back = [...spread].reverse();
          bands.push({
            type: "scatter", mode: "lines", fill: "toself", fillcolor: faint(color), hoverinfo: "skip",
            x: [...spread, ...back].map(([place]) => place),
            y: [...spread.map(([, , high]) => high), ...back.map(([, low]) => low)],
            line: { width: 0, color },
          });
        }
        curves.push({
          type: "scatter", mode: "lines+markers", x: places, y: values, connectgaps: false,
          line: { color, width: 2 }, marker: { color, size: 6 },
          text: table[j].map((cell, i) => hover(cell, at, i, j)), hovertemplate: "%{text}<extra></extra>",
        });
      });
      const title = measure.title.length > 46 ? `${measure.title.slice(0, 45)}…` : measure.title;
      const up = { title: { text: escaped(title) + (measure.share ? ", %" : ""), font: { size: 12 } } };
      if (log) {
        const drawn = [...bands, ...curves].flatMap((trace) => trace.y).filter((value) => value > 0).map(Math.log10);
        const low = Math.min(...drawn), high = Math.max(...drawn), margin = 0.06 * (high - low);
        const ticks = logTicks(low, high);
        Object.assign(up, {
          type: "log", range: [low - margin, high + margin],
          tickvals: ticks.map(([place]) => 10 ** place), ticktext: ticks.map(([, text]) => text),
        });
      }
      const layout = plan(axis, up, { hovermode: "closest" });
      const legend = figures.lines.querySelector(".legend");
      legend.replaceChildren(...(y ? y.values.map((value, j) => {
        const item = document.createElement("li"), mark = document.createElement("i"), text = document.createElement("span");
        mark.className = "line";
        mark.style.borderColor = y.colors[j];
        text.textContent = `${y.name} ${value}`;
        item.append(mark, text);
        return item;
      }) : []));
      return Plotly.react(figures.lines.querySelector(".canvas"), [...bands, ...curves], layout, settings);
    };

    // What is drawn in words: for those who cannot see it, and for everybody which runs it is about.
    const tell = (at, table) => {
      const measure = data.measures[at.measure], all = table.flat();
      const known = all.filter((cell) => cell.values.length).map((cell) => median(cell.values));
      const count = all.reduce((sum, cell) => sum + cell.values.length, 0);
      const over = data.settings[at.x].name + (at.y < 0 ? "" : ` and ${data.settings[at.y].name}`);
      const range = known.length
        ? ` from ${show(Math.min(...known), measure.share)} to ${show(Math.max(...known), measure.share)}` : ": no values";
      const words = `${measure.title} over ${over}${range} (${count} runs).`;
      for (const figure of Object.values(figures)) {
        if (figure) figure.querySelector(".canvas").setAttribute("aria-label", words);
      }
      const empty = all.some((cell) => cell.failed) ? " ✗: runs failed." : "";
      const waiting = all.some((cell) => cell.open) ? " ○: runs that are not done." : "";
      section.querySelector(".told").textContent = `${words}${empty}${waiting} ${measure.meaning}`;
    };

    const draw = async () => {
      const at = state(), table = cells(at);
      for (const list of holds) {
        const setting = Number(list.dataset.setting);
        list.closest("label").hidden = setting === at.x || setting === at.y;
      }
      tell(at, table);
      if (figures.heat) {
        figures.heat.hidden = at.y < 0;
        figures.heat.parentElement.classList.toggle("pair", at.y >= 0);
        figures.heat.querySelector("figcaption").textContent =
          at.y < 0 ? "" : `Over ${data.settings[at.x].name} and ${data.settings[at.y].name}`;
        if (at.y >= 0) await drawHeat(at, table);
      }
      const each = at.y < 0 ? "" : `, a line for each ${data.settings[at.y].name}`;
      figures.lines.querySelector("figcaption").textContent = `Over ${data.settings[at.x].name}${each}`;
      await drawLines(at, table);
      section.dataset.drawn = `${at.measure} ${at.x} ${at.y}`;
    };

    // The two settings are never one and the same: choosing the other's gives it the one that was here.
    let before = state();
    const choose = (event) => {
      const now = state();
      if (now.x === now.y && lists.y) {
        if (event.target === lists.x) lists.y.value = before.x;
        else lists.x.value = before.y >= 0 ? before.y : data.settings.findIndex((s, i) => i !== now.y && s.name !== "seed");
      }
      before = state();
      draw();
    };
    section.querySelectorAll("select").forEach((list) => list.addEventListener("change", choose));
    addEventListener("beforeprint", () => {
      for (const canvas of section.querySelectorAll(".canvas")) {
        if (canvas.data) Plotly.relayout(canvas, { width: canvas.clientWidth });
      }
    });
    addEventListener("afterprint", () => {
      for (const canvas of section.querySelectorAll(".canvas")) {
        if (canvas.data) Plotly.relayout(canvas, { width: null, autosize: true });
      }
    });
    draw();
  };

  document.querySelectorAll("section.explorer").forEach(explore);
})();

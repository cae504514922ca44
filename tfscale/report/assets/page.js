"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Links to the sections that this page has.
  for (const section of all("section[id]")) {
    const item = make("li"), link = make("a", "", $("h2", section).textContent);
    link.href = "#" + section.id;
    item.append(link);
    $("#sections").append(item);
  }

  // Tables that sort: numbers as numbers, empty cells last.
  const compare = (one, two, sign) => {
    if (one === "" || two === "") return (one === "") - (two === "");
    const a = Number(one), b = Number(two);
    return sign * (Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(two, undefined, { numeric: true }) : a - b);
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table), body = $("tbody", table);
    heads.forEach((head, column) => $("button", head).addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((one, two) => compare(one.cells[column].dataset.order, two.cells[column].dataset.order, sign));
      body.append(...rows);
    }));
  }

  // A row of the table and its line in the parallel coordinates are marked together.
  for (const node of all("[data-row]")) {
    const both = all(`[data-row="${node.dataset.row}"]`);
    node.addEventListener("pointerenter", () => both.forEach((each) => each.classList.add("marked")));
    node.addEventListener("pointerleave", () => both.forEach((each) => each.classList.remove("marked")));
  }

  const data = $("#data") ? JSON.parse($("#data").textContent) : null;
  if (!data) return;

  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const short = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    for (const [scale, letter] of units) if (size >= 10 * scale) return +(value / scale).toPrecision(3) + letter;
    return size !== 0 && size < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));
  };

  // Where a step stands on the chosen axis.
  const place = (clock, step, axis) => {
    if (axis === "examples") return clock.examples === null ? step : step * clock.examples;
    if (axis !== "seconds") return step;
    const steps = clock.steps, seconds = clock.seconds;
    let high = steps.findIndex((each) => each >= step);
    if (high < 0) high = steps.length - 1;
    if (high === 0) return seconds[0];
    const part = (step - steps[high - 1]) / (steps[high] - steps[high - 1] || 1);
    return seconds[high - 1] + Math.min(1, part) * (seconds[high] - seconds[high - 1]);
  };

  const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
  const NAMES = { step: "step", examples: "examples", seconds: "seconds" };
  const charts = [];

  // Exponential mean with the bias of its start taken out; gaps stay.
  const smoothed = (values, weight) => {
    if (!weight || values.length < 10) return values;
    let sum = 0, total = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  };

  const drawBand = (u, xs, line, color) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.globalAlpha = 0.16;
    ctx.fillStyle = color;
    const isLog = u.scales.y.distr === 3, floor = u.scales.y.min;
    const at = (value) => u.valToPos(isLog && !(value > 0) ? floor : value, "y", true);
    ctx.beginPath();
    xs.forEach((x, index) => ctx.lineTo(u.valToPos(x, "x", true), at(line.high[index])));
    for (let index = xs.length - 1; index >= 0; index--) ctx.lineTo(u.valToPos(xs[index], "x", true), at(line.low[index]));
    ctx.fill();
    ctx.restore();
  };

  const build = (chart, axis) => {
    const { panel, plot } = chart, hidden = new Set();
    if (chart.u) {
      chart.u.series.forEach((each, index) => index && !each.show && hidden.add(index));
      chart.u.destroy();
    }
    const positive = panel.lines.some((line) => line.y.some((value) => value > 0));
    const isLog = chart.isLog && positive;
    // Twelve decades are more than can be read; a value of 1e-300 would be all that the axis shows.
    const floor = isLog ? 1e-12 * Math.max(...panel.lines.map((line) => line.y.reduce((a, b) => Math.max(a, b), 0))) : 0;
    const weight = Number($("#smoothing").value);
    const xs = panel.lines.map((line) => line.x.map((step) => place(data.clocks[line.run], step, axis)));
    const tables = panel.lines.map((line, index) => [
      xs[index], smoothed(line.y, weight).map((value) => (value === null || (isLog && value <= floor) ? null : value)),
    ]);
    const colors = panel.lines.map((line) => css("--c" + line.color));
    const ink = css("--soft"), grid = css("--grid");
    const look = { stroke: ink, font: "12px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
    chart.u = new uPlot({
      width: Math.max(200, plot.clientWidth), height: 230,
      padding: [8, 18, 0, 0],
      scales: { x: { time: false }, y: isLog ? { distr: 3, log: 10 } : {} },
      axes: [
        { ...look, size: 28, values: (u, ticks) => ticks.map(short) },
        { ...look, size: 54, values: (u, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) },
      ],
      cursor: { y: false, sync: { key: "steps" }, focus: { prox: 24 }, points: { size: 7 } },
      focus: { alpha: 0.35 },
      series: [
        { label: NAMES[axis], value: (u, value) => short(value) },
        ...panel.lines.map((line, index) => ({
          label: line.label, stroke: colors[index], width: 1.7, dash: DASHES[line.dash % DASHES.length],
          show: !hidden.has(index + 1), value: (u, value) => short(value) + (value === null || !panel.unit ? "" : " " + panel.unit),
          points: { show: line.x.length <= 40, size: line.x.length === 1 ? 9 : 5, fill: colors[index], stroke: colors[index] },
        })),
      ],
      hooks: {
        drawAxes: [(u) => panel.lines.forEach((line, index) => {
          if (line.low && line.x.length > 1 && u.series[index + 1].show) drawBand(u, xs[index], line, colors[index]);
        })],
      },
    }, uPlot.join(tables), plot);
    const rows = all(".u-series", chart.u.root);
    rows.slice(1).forEach((row, index) => {
      const head = $("th", row);
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.setAttribute("aria-pressed", String(!hidden.has(index + 1)));
      const note = () => head.setAttribute("aria-pressed", String(chart.u.series[index + 1].show));
      head.addEventListener("click", () => setTimeout(note));
      head.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        chart.u.setSeries(index + 1, { show: !chart.u.series[index + 1].show });
        note();
      });
    });
  };

  const step = (chart, key) => {
    const u = chart.u, last = u.data[0].length - 1;
    const now = u.cursor.idx === null || u.cursor.idx === undefined ? (key === "ArrowLeft" ? last + 1 : -1) : u.cursor.idx;
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[key];
    const index = Math.max(0, Math.min(last, next));
    u.setCursor({ left: u.valToPos(u.data[0][index], "x"), top: u.bbox.height / devicePixelRatio / 2 });
  };

  const rebuild = () => charts.forEach((chart) => build(chart, $("#axis").value));

  for (const panel of data.panels) {
    const figure = make("figure", "chart"), caption = make("figcaption"), plot = make("div", "plot");
    const label = make("label"), box = make("input"), chart = { panel, plot, isLog: panel.log, u: null };
    caption.append(make("span", "", panel.title + (panel.unit ? ` (${panel.unit})` : "")));
    if (panel.lines.some((line) => line.y.some((value) => value > 0))) {
      box.type = "checkbox";
      box.checked = panel.log;
      box.addEventListener("change", () => { chart.isLog = box.checked; build(chart, $("#axis").value); });
      label.append(box, " log");
      caption.append(label);
    }
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", `${panel.title}: ` + panel.lines.map((line) => `${line.label} ends at ${short(line.y[line.y.length - 1])}`).join(", "));
    plot.addEventListener("keydown", (event) => {
      if (event.target !== plot || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      step(chart, event.key);
    });
    figure.append(caption, plot);
    $("#charts").append(figure);
    charts.push(chart);
  }
  rebuild();

  for (const control of ["#axis", "#smoothing"]) $(control).addEventListener("change", rebuild);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) { width = innerWidth; rebuild(); }
  });
  // Paper is light and narrow, whatever the screen is.
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("print");
    charts.forEach((chart) => { build(chart, $("#axis").value); chart.u.setSize({ width: 330, height: 200 }); });
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("print");
    rebuild();
  });
})();

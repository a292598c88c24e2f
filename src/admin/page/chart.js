// Small charts of the last minutes. Time runs to the right edge, which is now; where nothing was heard there is a gap.

import { element, say, set, shape } from "./dom.js";
import { WINDOW } from "./model.js";

/** A longer silence than this is a gap, in milliseconds. */
const GAP = 2500;
const WIDTH = 180;

/** How much of something there is, as a bar; the text beside it says the same. */
export function bar() {
  const filled = shape("rect", { class: "filled", height: 6, width: 0 });
  const node = shape("svg", { class: "bar-of", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, shape("rect", { class: "room", width: 100, height: 6 }), filled);
  return { node, draw: (share) => set(filled, "width", (100 * share).toFixed(1)) };
}

/** A chart without axes, for a line of text. */
export function spark(kind) {
  const height = 28;
  const area = shape("path", { class: "area" });
  const line = shape("path", { class: "line" });
  const drawing = shape(
    "svg",
    { class: `spark ${kind}`, viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    area,
    line,
  );
  return {
    node: drawing,
    draw(points, time, least) {
      const highest = Math.max(0, ...points.map(([, value]) => value ?? 0));
      const path = trace(points, time, Math.max(least, highest), height - 3);
      set(drawing, "data-flat", highest === 0);
      set(line, "d", path.line);
      set(area, "d", path.area(height));
    },
  };
}

/** A figure with its name, its value, and a chart with the greatest value written at its top. `lines` are their kinds. */
export function figure(title, lines, note) {
  const height = 64;
  const value = element("strong");
  const more = element("span", { class: "beside quiet" });
  const top = element("span", { class: "top" });
  const paths = lines.map((kind) => [shape("path", { class: `area ${kind}` }), shape("path", { class: `line ${kind}` })]);
  const drawing = shape(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img" },
    shape("path", { class: "grid", d: `M0 0.5H${WIDTH}M0 ${height / 2}H${WIDTH}M0 ${height - 0.5}H${WIDTH}` }),
    ...paths.flat(),
  );
  const legend = element("p", { class: "legend quiet" }, element("span", {}, "3 min ago"), element("span", {}, note), element("span", {}, "now"));
  const node = element("article", { class: "figure" }, element("h3", {}, title), element("p", {}, value, more), element("div", { class: "plot" }, top, drawing), legend);
  return {
    node,
    /** `series` are as many as there are lines; `scale` says a value. */
    draw(text, beside, series, time, least, scale) {
      say(value, text);
      say(more, beside);
      const most = ceiling(Math.max(least, ...series.flat().map(([, number]) => number ?? 0)));
      say(top, scale(most));
      set(drawing, "aria-label", `${title}, last three minutes: now ${text}, the scale goes to ${scale(most)}`);
      series.forEach((points, at) => {
        const path = trace(points, time, most, height - 2);
        set(paths[at][0], "d", path.area(height));
        set(paths[at][1], "d", path.line);
      });
    },
  };
}

/** The next number that is good to read. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value * 0.999);
}

/** The line through the points, and the area below it. */
function trace(points, time, most, height) {
  const runs = [];
  let before = null;
  for (const [at, value] of points) {
    const x = WIDTH * (1 - (time - at) / (WINDOW * 1000));
    if (value === null || x < 0) {
      before = null;
      continue;
    }
    if (before === null || at - before > GAP) runs.push([]);
    const y = 1 + (height - 1) * (1 - Math.min(1, value / most));
    runs.at(-1).push(`${x.toFixed(1)} ${y.toFixed(1)}`);
    before = at;
  }
  const from = (run) => `M${run.join("L")}${run.length === 1 ? "h0.01" : ""}`;
  const foot = (run, bottom) => `M${run[0].split(" ")[0]} ${bottom}L${run.join("L")}V${bottom}Z`;
  return { line: runs.map(from).join(""), area: (bottom) => runs.map((run) => foot(run, bottom)).join("") };
}

// The traffic of the gateway and of each route.

import { figure, spark } from "./chart.js";
import { List, element, latency, many, percent, rate, say, set } from "./dom.js";

/** Routes that are shown before somebody asks for all. */
const FEW = 50;
/** The name of what no route takes. */
const NONE = "none";

const requests = (point, period) => point.requests / period;
const errors = (point) => point.server / point.requests;

/** The figures of all traffic. */
export class Traffic {
  constructor(parent) {
    this.rate = figure("Requests per second", ["rate"], "");
    this.errors = figure("Server errors", ["bad"], "share of requests");
    this.latency = figure("Latency", ["slow", "rate"], "p99 over p50");
    parent.append(this.rate.node, this.errors.node, this.latency.node);
  }

  update(model, time) {
    const recent = model.recent();
    const series = (pick, none) => model.series(undefined, pick, none);
    this.rate.draw(rate(recent.rate), "", [series(requests, 0)], time, 1, rate);
    set(this.errors.node, "data-bad", recent.server > 0);
    const refused = recent.client > 0 ? `and ${percent(recent.client)} client errors` : "";
    this.errors.draw(percent(recent.server), refused, [series(errors, 0)], time, 0.01, percent);
    const slow = [series((point) => point.p99, null), series((point) => point.p50, null)];
    this.latency.draw(latency(recent.p50), `p50, ${latency(recent.p99)} p99`, slow, time, 0.001, latency);
  }
}

/** The table of routes. */
export class Routes {
  constructor(parent, find, note) {
    this.note = note;
    this.find = find;
    this.all = false;
    this.wanted = "";
    find.querySelector("input").addEventListener("input", (event) => {
      this.wanted = event.target.value.trim().toLowerCase();
      this.again();
    });
    const body = element("tbody");
    const heading = (text) => element("th", { scope: "col" }, text);
    const columns = ["Route", "Requests/s", "Server errors", "Latency p50", "p99"];
    const head = element("thead", {}, element("tr", {}, ...columns.map(heading)));
    this.table = element("table", { class: "routes" }, head, body);
    this.more = element("button", { class: "button", type: "button", hidden: true, click: () => this.showAll() }, "");
    this.empty = element("p", { class: "empty", hidden: true });
    parent.append(this.table, this.empty, this.more);
    this.rows = new List(body, (name) => name, row);
  }

  update(model, time) {
    this.last = [model, time];
    const { routes } = model.status;
    const unmatched = model.frames.some((frame) => frame.routes.has(NONE));
    const all = unmatched ? [...routes, NONE] : routes;
    const found = all.filter((name) => name.toLowerCase().includes(this.wanted));
    const shown = this.all ? found : found.slice(0, FEW);
    set(this.find, "hidden", routes.length <= 8);
    say(this.note, routes.length > 8 ? many(routes.length, "route") : "");
    set(this.table, "hidden", shown.length === 0);
    set(this.empty, "hidden", shown.length > 0);
    say(this.empty, routes.length === 0 ? "No routes are configured." : "No route has such a name.");
    set(this.more, "hidden", shown.length === found.length);
    say(this.more, `Show all ${found.length}`);
    this.rows.update(shown, model, time);
  }

  again() {
    if (this.last) this.update(...this.last);
  }

  showAll() {
    this.all = true;
    this.again();
  }
}

function row(name) {
  const cell = (label, ...children) => element("td", { "data-label": label, class: "number" }, ...children);
  const [perSecond, bad, middle, slow] = ["", "", "", ""].map(() => element("span"));
  const [chart, badChart, slowChart] = [spark("rate"), spark("bad"), spark("slow")];
  const label = name === NONE ? element("span", {}, "none ", element("small", { class: "quiet" }, "no route took it")) : name;
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, label),
    cell("Requests/s", perSecond, chart.node),
    cell("Errors", bad, badChart.node),
    cell("p50", middle),
    cell("p99", slow, slowChart.node),
  );
  const update = (_, model, time) => {
    const recent = model.recent(name);
    say(perSecond, rate(recent.rate));
    say(bad, recent.requests > 0 ? percent(recent.server) : "–");
    set(bad, "class", recent.server > 0 ? "bad" : null);
    say(middle, latency(recent.p50));
    say(slow, latency(recent.p99));
    set(node, "data-quiet", recent.requests === 0);
    chart.draw(model.calm(name, requests), time, 1);
    badChart.draw(model.calm(name, errors), time, 0.01);
    slowChart.draw(model.series(name, (point) => point.p99, null), time, 0.001);
  };
  return { node, update };
}

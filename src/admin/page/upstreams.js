// The upstreams: what their names last answered, and each address with its state and its share of the traffic.

import { bar } from "./chart.js";
import { List, element, many, percent, rate, say, set, span, whole } from "./dom.js";
import { placeOf, running } from "./model.js";

/** With more upstreams than this they begin closed, and there is a field to find one. */
const FEW = 6;
/** Upstreams that are shown before somebody looks for others. */
const MOST = 100;
const CIRCUITS = { closed: "closed", half_open: "half open", open: "open" };

/** What is worth a look about an upstream, worst first. */
function troubles(upstream, now) {
  const found = [];
  const staying = upstream.addresses.filter((address) => !address.left);
  const count = (state) => staying.filter((address) => address.state === state).length;
  if (staying.length === 0) found.push(["bad", "no addresses"]);
  else if (count("healthy") === 0) found.push(["bad", "no healthy address"]);
  for (const state of ["ejected", "unhealthy", "draining", "checking"]) {
    if (count(state) > 0) found.push([state === "ejected" || state === "unhealthy" ? "bad" : "note", `${count(state)} ${state}`]);
  }
  const circuit = upstream.circuit;
  if (circuit && circuit.state !== "closed") {
    const left = running(circuit, "open_for_seconds", now);
    found.push(["bad", `circuit ${CIRCUITS[circuit.state] ?? circuit.state}${left ? `, ${span(left)} more` : ""}`]);
  }
  const names = [upstream.dns, upstream.srv, ...(upstream.srv?.targets ?? [])].filter(Boolean);
  for (const state of ["stale", "holding", "empty"]) {
    if (names.some((name) => name.state === state)) found.push(["bad", `DNS ${state}`]);
  }
  if (names.some((name) => name.advice)) found.push(["note", "advice"]);
  return found;
}

export class Upstreams {
  /** `act(upstream, address, what)` changes something; `may()` says what that takes. */
  constructor(parent, find, note, act) {
    this.find = find;
    this.note = note;
    this.wanted = "";
    find.querySelector("input").addEventListener("input", (event) => {
      this.wanted = event.target.value.trim().toLowerCase();
      this.again();
    });
    const body = element("div", { class: "upstreams" });
    this.empty = element("p", { class: "empty", hidden: true });
    parent.append(body, this.empty);
    this.rows = new List(body, (upstream) => upstream.name, (upstream) => card(upstream, act, this.few));
  }

  update(model, now) {
    this.last = [model, now];
    const { upstreams } = model.status;
    this.few = upstreams.length <= FEW;
    const matches = (upstream) =>
      upstream.name.toLowerCase().includes(this.wanted) || upstream.addresses.some((one) => one.address.includes(this.wanted));
    const found = upstreams.filter(matches);
    const shown = found.slice(0, MOST);
    const ill = upstreams.filter((upstream) => troubles(upstream, now).some(([kind]) => kind === "bad")).length;
    set(this.find, "hidden", this.few);
    const hidden = found.length > shown.length ? `, the first ${MOST} shown` : "";
    say(this.note, `${this.few ? "" : many(upstreams.length, "upstream") + hidden}${ill > 0 ? `${this.few ? "" : " · "}${ill} in trouble` : ""}`);
    set(this.empty, "hidden", shown.length > 0);
    say(this.empty, upstreams.length === 0 ? "No upstreams are configured." : "Nothing has such a name or address.");
    this.rows.update(shown, model, now);
  }

  again() {
    if (this.last) this.update(...this.last);
  }
}

function card(upstream, act, open) {
  const name = element("h3", {}, upstream.name);
  const marks = element("span", { class: "marks" });
  const traffic = element("span", { class: "quiet" });
  const summary = element("summary", {}, name, marks, traffic);
  const facts = element("div", { class: "facts" });
  const advice = element("div");
  const body = element("tbody");
  const heading = (text) => element("th", { scope: "col" }, text);
  const columns = ["Address", "State", "In flight", "Share", "Connections", ""];
  const table = element("table", { class: "addresses" }, element("thead", {}, element("tr", {}, ...columns.map(heading))), body);
  const node = element("details", { class: "card upstream", open }, summary, facts, advice, table);
  const rows = new List(body, placeOf, (address) => row(address, (what) => act(latest, rows.known.get(placeOf(address)), what)));
  const badges = new List(marks, ([kind, text]) => `${kind} ${text}`, ([kind, text]) => fixed("span", `mark ${kind}`, text));
  const advices = new List(advice, (text) => text, (text) => fixed("p", "advice", text));
  const names = new List(facts, ({ name: of }) => of, told);
  let latest = upstream;
  const update = (current, model, now) => {
    latest = current;
    const shares = model.shares(current);
    const staying = current.addresses.filter((address) => !address.left).length;
    const count = staying > 0 ? [["count", many(staying, "address", "addresses")]] : [];
    badges.update([...count, ...troubles(current, now)]);
    say(traffic, shares.rate > 0 ? `${rate(shares.rate)} requests/s` : "no requests");
    if (!node.open) return;
    const { dns, srv } = current;
    const all = [dns, srv, ...(srv?.targets ?? [])].filter(Boolean);
    names.update(all, now);
    set(facts, "hidden", all.length === 0 && current.waiting === undefined);
    advices.update(all.map((one) => one.advice).filter(Boolean));
    rows.known = new Map(current.addresses.map((address) => [placeOf(address), address]));
    rows.update(current.addresses, shares, model.status.changes, now);
    set(table, "hidden", current.addresses.length === 0);
  };
  node.addEventListener("toggle", () => document.dispatchEvent(new Event("again")));
  return { node, update };
}

function fixed(tag, kind, text) {
  return { node: element(tag, { class: kind }, text), update: () => {} };
}

/** What a name last answered. */
function told(name) {
  const answer = element("span");
  const times = element("span", { class: "quiet" });
  const problem = element("span", { class: "problem", hidden: true });
  const node = element("p", {}, element("code", {}, name.name), " ", answer, " ", times, " ", problem);
  const update = (current, now) => {
    const count = (current.addresses ?? current.records).length;
    const noun = current.records ? many(count, "record") : many(count, "address", "addresses");
    say(answer, current.state === "waiting" ? "has not answered yet" : `${noun}, ${current.state}`);
    const age = running(current, "age_seconds", now);
    const next = running(current, "next_refresh_seconds", now);
    const parts = [];
    if (age !== null) parts.push(`answered ${span(age)} ago${current.server ? ` by ${current.server}` : ""}`);
    if (current.ttl_seconds !== null && current.ttl_seconds !== undefined) parts.push(`TTL ${current.ttl_seconds} s`);
    parts.push(next < 1 ? "asks again now" : `asks again in ${span(next)}`);
    if (current.lookups_failed > 0) parts.push(`${whole(current.lookups_failed)} of ${whole(current.lookups_ok + current.lookups_failed)} lookups failed`);
    say(times, `· ${parts.join(" · ")}`);
    set(problem, "hidden", !current.last_error);
    say(problem, current.last_error ?? "");
  };
  return { node, update };
}

function row(address, act) {
  const cell = (label, kind, ...children) => element("td", { "data-label": label, class: kind }, ...children);
  const state = element("span", { class: "state" });
  const why = element("small", { class: "why" });
  const [inFlight, share, connections] = ["", "", ""].map(() => element("span"));
  const part = bar();
  const label = element("span");
  const button = element("button", { class: "button small", type: "button", click: press }, label);
  const rank = element("small", { class: "quiet" });
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, element("code", {}, address.address), " ", rank),
    cell("State", "", state, why),
    cell("In flight", "number", inFlight),
    cell("Share", "number share", share, part.node),
    cell("Connections", "number", connections),
    cell("", "action", button),
  );
  let what = "drain";
  async function press() {
    if (button.getAttribute("aria-disabled") === "true") return;
    set(button, "aria-disabled", "true");
    try {
      await act(what);
    } finally {
      set(button, "aria-disabled", "false");
    }
  }
  const update = (current, { each, all }, changes, now) => {
    say(state, current.left ? "leaving" : current.state);
    set(state, "data-state", current.state);
    const left = running(current, "ejected_seconds", now);
    const again = left > 0 ? `; tried again in ${span(left + 1)}` : "";
    say(why, `${current.why ?? ""}${again}`);
    say(inFlight, whole(current.in_flight));
    const had = all > 0 ? each.get(placeOf(current)) / all : null;
    say(share, had === null ? "–" : percent(had));
    part.draw(had ?? 0);
    say(connections, `${whole(current.connections)}${current.idle > 0 ? ` (${whole(current.idle)} idle)` : ""}`);
    const ranks = [current.weight !== 1 && `weight ${current.weight}`, current.priority > 0 && `priority ${current.priority}`];
    say(rank, ranks.filter(Boolean).join(", "));
    const drained = current.state === "draining";
    what = drained ? "undrain" : "drain";
    set(button, "hidden", Boolean(current.left));
    say(label, drained ? "Take back" : "Drain");
    set(button, "aria-label", `${drained ? "Take back" : "Drain"} ${current.address}`);
    set(button, "disabled", changes === "never");
    set(button, "title", changes === "never" ? "This listener is open to the network: set a token in [admin]" : null);
  };
  return { node, update };
}

// What there may be besides: limits, cache, keys, and the last reloads.

import { bar } from "./chart.js";
import { List, bytes, element, many, percent, say, set, span, whole } from "./dom.js";
import { running } from "./model.js";

const heading = (text) => element("th", { scope: "col" }, text);
const cell = (label, kind, ...children) => element("td", { "data-label": label, class: kind }, ...children);
const table = (kind, columns, body) => element("table", { class: kind }, element("thead", {}, element("tr", {}, ...columns.map(heading))), body);

/** A table of rows that are texts: `columns` are `[name, kind, (item, now) => text]`, of which the first names the row. */
function plain(parent, columns) {
  const body = element("tbody");
  parent.append(table("plain", columns.map(([name]) => name), body));
  const make = (item) => {
    const texts = columns.map(() => element("span"));
    const [first, ...rest] = columns.map(([name, kind], at) =>
      at === 0 ? element("th", { scope: "row" }, texts[at]) : cell(name, kind, texts[at]),
    );
    const update = (current, now) =>
      columns.forEach(([, , read], at) => {
        const [text, kind] = [read(current, now)].flat();
        say(texts[at], text);
        set(texts[at], "class", kind);
      });
    return { node: element("tr", {}, first, ...rest), update };
  };
  return new List(body, (item) => item.name, make);
}

/** The limits, where there are some. */
export class Limits {
  constructor(section, parent) {
    this.section = section;
    const of = (name) => (limit) => whole(limit.decisions?.[name] ?? 0);
    this.rows = plain(parent, [
      ["Limit", "", (limit) => limit.name],
      ["Counts", "", (limit) => [limit.store, limit.mode === "observe" && "only observes"].filter(Boolean).join(", ")],
      ["Keys", "number", (limit) => `${whole(limit.keys ?? 0)}${limit.max_keys ? ` of ${whole(limit.max_keys)}` : ""}`],
      ["Passed", "number", of("allowed")],
      ["Refused", "number", (limit) => [of("refused")(limit), (limit.decisions?.refused ?? 0) > 0 ? "bad" : null]],
    ]);
    this.redis = element("p", { hidden: true });
    parent.append(this.redis);
  }

  update({ limits, redis }, now) {
    set(this.section, "hidden", !limits?.length);
    this.rows.update(limits ?? [], now);
    set(this.redis, "hidden", !redis);
    if (!redis) return;
    const others = redis.replicas > 1 ? `, shared by ${whole(redis.replicas)} gateways` : "";
    say(this.redis, redis.up ? `Redis answers${others}.` : `Redis does not answer${redis.last_error ? `: ${redis.last_error}` : "."}`);
    set(this.redis, "class", redis.up ? "note quiet" : "note bad");
  }
}

/** The keys that verify tokens. */
export class Keys {
  constructor(section, parent) {
    this.section = section;
    this.rows = plain(parent, [
      ["Policy", "", (set_) => set_.name],
      ["Keys", "", (set_) => [`${whole(set_.keys)}${set_.ids.length > 0 ? `: ${set_.ids.join(", ")}` : ""}`, set_.keys === 0 ? "bad" : null]],
      ["Current", "", (set_, now) => age(set_, now)],
      ["Next round", "", (set_, now) => next(set_, now)],
      ["Last error", "", (set_) => [set_.last_error ?? "none", set_.last_error ? "bad" : "quiet"]],
    ]);
  }

  update({ keys }, now) {
    set(this.section, "hidden", !keys?.length);
    this.rows.update(keys ?? [], now);
  }
}

function age(keys, now) {
  const seconds = running(keys, "age_seconds", now);
  return seconds === null ? "never had any" : `${span(seconds)} ago`;
}

function next(keys, now) {
  const seconds = running(keys, "next_refresh_seconds", now);
  return seconds > 0 ? `in ${span(seconds)}` : "when the file changes";
}

/** The cache, where there is one. */
export class Cache {
  /** `purge(what, value)` empties a part of it. */
  constructor(section, parent, purge) {
    this.section = section;
    this.fill = element("p");
    this.room = bar();
    const results = element("ul", { class: "results" });
    this.results = new List(results, ([name]) => name, ([name]) => {
      const count = element("strong");
      const node = element("li", {}, count, " ", element("span", { class: "quiet" }, name));
      return { node, update: ([, value]) => say(count, whole(value)) };
    });
    const kind = element("select", { "aria-label": "What the text names" }, ...["prefix", "url", "tag", "all"].map((one) => element("option", { value: one }, one === "all" ? "everything" : one)));
    const text = element("input", { type: "text", placeholder: "/path", "aria-label": "What to purge", autocomplete: "off", spellcheck: "false", required: true });
    this.button = element("button", { class: "button", type: "submit" }, "Purge");
    const form = element("form", { class: "purge", submit: (event) => {
      event.preventDefault();
      purge(kind.value, text.value.trim());
    } }, kind, text, this.button);
    kind.addEventListener("change", () => {
      text.disabled = kind.value === "all";
    });
    parent.append(element("div", { class: "card" }, this.fill, this.room.node, results, form));
  }

  update({ cache, changes }) {
    set(this.section, "hidden", !cache);
    if (!cache) return;
    const results = Object.entries(cache.results ?? {});
    const all = results.reduce((sum, [, count]) => sum + count, 0);
    const hits = all > 0 ? `, ${percent((cache.results.hit ?? 0) / all)} of the requests were hits` : "";
    const fetching = cache.fetching > 0 ? `, ${whole(cache.fetching)} being fetched` : "";
    say(this.fill, `${bytes(cache.bytes)} of ${bytes(cache.memory)} in ${many(cache.entries, "entry", "entries")}${fetching}${hits}`);
    this.room.draw(cache.memory > 0 ? Math.min(1, cache.bytes / cache.memory) : 0);
    this.results.update(results);
    set(this.button, "disabled", changes === "never");
  }
}

const TRIGGERS = { signal: "by SIGHUP", file: "a file has changed", api: "by an operator", program: "by the program" };
const KINDS = [["routes", "route"], ["upstreams", "upstream"], ["auth", "auth"]];
const SIGNS = [["added", "+"], ["removed", "−"], ["changed", "~"]];
/** Names of one kind that are shown in full. */
const NAMES = 20;

/** The last reloads. */
export class Reloads {
  constructor(parent) {
    const body = element("ol", { class: "reloads" });
    this.empty = element("p", { class: "empty" }, "None since the start.");
    parent.append(body, this.empty);
    // A reload that is over does not change: only its age does.
    this.rows = new List(body, (verdict) => `${verdict.at} ${verdict.result} ${verdict.trigger}`, reload);
  }

  update({ reloads }, wall) {
    set(this.empty, "hidden", Boolean(reloads?.length));
    this.rows.update(reloads ?? [], wall);
  }
}

function reload(verdict) {
  const failed = verdict.result !== "ok";
  const ago = element("time", { datetime: verdict.at, class: "quiet" });
  const title = failed ? "Failed, the old configuration runs on" : "Taken";
  const head = element("p", {}, element("strong", { class: failed ? "bad" : "good" }, title), " ", ago, element("span", { class: "quiet" }, ` · ${TRIGGERS[verdict.trigger] ?? verdict.trigger}`));
  const node = element("li", { class: "card" }, head, ...(failed ? (verdict.problems ?? []).map(problem) : differences(verdict)));
  const update = (_, wall) => {
    const passed = Math.max(0, (wall - Date.parse(verdict.at)) / 1000);
    say(ago, Number.isFinite(passed) ? `${span(passed)} ago` : verdict.at);
  };
  return { node, update };
}

function problem({ message, key, place, help }) {
  const parts = [element("span", {}, message)];
  if (key) parts.push(" ", element("code", {}, key));
  if (place) parts.push(" ", element("span", { class: "quiet" }, place));
  if (help) parts.push(element("small", { class: "why" }, help));
  return element("p", { class: "problem" }, ...parts);
}

function differences(verdict) {
  const marks = [];
  for (const [kind, noun] of KINDS) {
    for (const [what, sign] of SIGNS) {
      const names = verdict[kind]?.[what] ?? [];
      for (const name of names.slice(0, NAMES)) {
        marks.push(element("li", { class: `mark ${what}` }, element("span", { "aria-hidden": "true" }, `${sign} `), element("span", { class: "sr" }, `${what} `), `${noun} ${name}`));
      }
      if (names.length > NAMES) marks.push(element("li", { class: "mark" }, `${sign} ${many(names.length - NAMES, `more ${noun}`, `more ${noun}s`)}`));
    }
  }
  for (const key of verdict.settings ?? []) marks.push(element("li", { class: "mark changed" }, `~ ${key}`));
  const lines = marks.length > 0 ? [element("ul", { class: "marks" }, ...marks)] : [element("p", { class: "quiet" }, "Nothing is different.")];
  const waiting = verdict.needs_restart ?? [];
  if (waiting.length > 0) lines.push(element("p", { class: "advice" }, `Needs a restart: ${waiting.join(", ")}`));
  return lines;
}

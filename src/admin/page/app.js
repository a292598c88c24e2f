// The page: listens to the gateway, shows what it says, and asks it for changes. When it falls silent, says so and tries
// again until it is back.

import { element, many, say, set, span } from "./dom.js";
import { Model, running } from "./model.js";
import { Cache, Keys, Limits, Reloads } from "./more.js";
import { Routes, Traffic } from "./routes.js";
import { Upstreams } from "./upstreams.js";

/** A silence that is worth a word, and one after which the connection is made anew, in milliseconds. */
const SILENCE = 3500;
const HOPELESS = 8000;
/** Time between two attempts where the browser makes none by itself. */
const AGAIN = 1000;
/** How long a message stays. */
const MESSAGE = 10000;

const at = (id) => document.getElementById(id);
const model = new Model();
/** The token of `[admin]`: in this page's memory, and nowhere else. */
let token = null;
let stream = null;
let attempted = 0;
let lost = false;

const traffic = new Traffic(at("figures"));
const routes = new Routes(at("routes"), at("routes-find"), at("routes-note"));
const upstreams = new Upstreams(at("upstreams"), at("upstreams-find"), at("upstreams-note"), changeAddress);
const limits = new Limits(at("limits-section"), at("limits"));
const cache = new Cache(at("cache-section"), at("cache"), purge);
const keys = new Keys(at("keys-section"), at("keys"));
const reloads = new Reloads(at("reloads"));

// ---------------------------------------------------------------- listening

function listen() {
  stream?.close();
  attempted = performance.now();
  stream = new EventSource("/api/v1/events");
  const hear = (take) => (event) => {
    take.call(model, JSON.parse(event.data), performance.now());
    show();
  };
  stream.addEventListener("snapshot", hear(model.begin));
  stream.addEventListener("frame", hear(model.go));
}

/** Looks after the stream: browsers come back by themselves from a broken one, not from a refusal or a silence. */
function look() {
  const now = performance.now();
  const silent = now - Math.max(attempted, model.heard ?? 0);
  if (stream.readyState === EventSource.CLOSED ? silent > AGAIN : silent > HOPELESS) listen();
  show();
}

// ---------------------------------------------------------------- showing

function show() {
  const now = performance.now();
  showLink(now);
  if (model.status === null || document.hidden) return;
  const { status } = model;
  const time = (model.frames.at(-1)?.time ?? 0) + (now - model.heard);
  say(at("version"), `${status.version} · up ${span(running(status, "uptime_seconds", now))}`);
  traffic.update(model, time);
  routes.update(model, time);
  upstreams.update(model, now);
  limits.update(status, now);
  cache.update(status);
  keys.update(status, now);
  reloads.update(status, Date.now());
  const each = status.listeners.map(({ address, connections }) => `${address}, ${many(connections, "connection")}`);
  say(at("listeners"), each.length > 0 ? `Listens on ${each.join("; ")}` : "");
}

function showLink(now) {
  const silent = model.heard === null ? now - 0 : now - model.heard;
  const state = model.heard === null && silent < SILENCE ? "waiting" : silent >= SILENCE ? "lost" : model.status.draining ? "draining" : "live";
  const words = { waiting: "Connecting", lost: "No answer", draining: "Shutting down", live: "Live" };
  set(at("link"), "data-state", state);
  say(at("link-text"), words[state]);
  set(document.body, "data-link", state);
  set(at("banner"), "hidden", state !== "lost" && state !== "draining");
  if (state === "lost") {
    const seen = model.heard === null ? "" : ` Last seen ${span(silent / 1000)} ago; what you see is from then.`;
    // Said once aloud, not with each second that passes.
    if (!lost) say(at("banner"), "");
    bannerText("The gateway does not answer.", `${seen} Trying again.`);
  }
  if (state === "draining") bannerText("The gateway is shutting down:", " it finishes what it has and takes no new clients soon.");
  if (lost && state === "live") tell("The gateway answers again.");
  lost = state === "lost";
  document.title = state === "live" || state === "waiting" ? "Tollgate" : `${words[state]} – Tollgate`;
}

function bannerText(what, more) {
  const banner = at("banner");
  if (banner.childElementCount !== 2) banner.replaceChildren(element("strong"), element("span", { "aria-live": "off" }));
  say(banner.firstChild, what);
  say(banner.lastChild, more);
}

let forgetting = 0;

/** Says what came of something. */
function tell(text, bad = false) {
  clearTimeout(forgetting);
  say(at("told"), text);
  set(at("told"), "data-bad", bad);
  forgetting = setTimeout(() => say(at("told"), ""), MESSAGE);
}

// ---------------------------------------------------------------- changing

async function changeAddress(upstream, address, what) {
  const others = upstream.addresses.filter((one) => one !== address && !one.left && one.state === "healthy");
  if (what === "drain" && others.length === 0) {
    const text = `${address.address} is the last address of ${upstream.name} that takes requests. Without it they are refused.`;
    if ((await ask({ title: "Drain the last address?", text, yes: "Drain it" })) === null) return;
  }
  const name = encodeURIComponent(upstream.name);
  const path = `/api/v1/upstreams/${name}/addresses/${encodeURIComponent(address.address)}/${what}`;
  const done = what === "drain" ? "finishes what it has and gets nothing new" : "takes requests again";
  await change(path, undefined, () => `${address.address} ${done}.`);
}

async function purge(what, value) {
  const told = (answer) => {
    const count = Object.values(answer ?? {}).find((one) => typeof one === "number");
    return count === undefined ? "Purged." : `Purged ${many(count, "entry", "entries")}.`;
  };
  if (what === "all") {
    const text = "Everything is asked for anew, which the upstreams will notice.";
    if ((await ask({ title: "Empty the cache?", text, yes: "Empty it" })) === null) return;
  }
  await change("/api/v1/cache/purge", { [what]: what === "all" ? true : value }, told);
}

/** Asks the gateway for a change; for the token first, where it takes one. */
async function change(path, body, done) {
  let problem = null;
  for (;;) {
    if (model.status.changes === "token" && token === null) {
      token = await ask({ title: "Changes need the token", yes: "Go on", problem, secret: true });
      showKey();
      if (token === null) return;
    }
    const { status, answer } = await post(path, body);
    if (status === 401) {
      problem = answer?.detail ?? "The token is not the right one.";
      token = null;
      showKey();
      if (model.status.changes === "token") continue;
    }
    if (status >= 200 && status < 300) tell(done(answer));
    else tell(`Not done: ${answer?.detail ?? (status === 0 ? "the gateway does not answer" : `it answered ${status}`)}.`, true);
    return;
  }
}

async function post(path, body) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    const response = await fetch(path, { method: "POST", headers, body: body && JSON.stringify(body), credentials: "omit" });
    return { status: response.status, answer: await response.json().catch(() => null) };
  } catch {
    return { status: 0, answer: null };
  }
}

/** Asks a question, or for the token; null when the answer is no. */
function ask({ title, text = "", yes, problem = null, secret = false }) {
  const dialog = at("ask");
  say(at("ask-title"), title);
  say(at("ask-text"), text);
  set(at("ask-text"), "hidden", text === "");
  say(at("ask-yes"), yes);
  set(at("ask-label"), "hidden", !secret);
  set(at("ask-problem"), "hidden", problem === null);
  say(at("ask-problem"), problem ?? "");
  const field = at("ask-token");
  field.value = "";
  field.required = secret;
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const answer = dialog.returnValue === "yes" ? (secret ? field.value.trim() : "") : null;
      field.value = "";
      resolve(answer);
    }, { once: true });
    dialog.showModal();
    (secret ? field : at("ask-no")).focus();
  });
}

function showKey() {
  set(at("key"), "hidden", token === null);
  say(at("key"), "Forget the token");
}

at("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  at("ask").close("yes");
});
at("ask-no").addEventListener("click", () => at("ask").close(""));
at("key").addEventListener("click", () => {
  token = null;
  showKey();
  tell("The token is forgotten.");
});
document.addEventListener("visibilitychange", show);
document.addEventListener("again", show);
listen();
setInterval(look, 1000);

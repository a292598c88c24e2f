// What is known of the gateway: the whole state as it was told, changed by each frame, and the last minutes of numbers.
// Knows nothing of how it is shown.

/** Seconds that charts show. */
export const WINDOW = 180;
/** Seconds that a number beside a chart is the average of. */
export const RECENT = 10;
/** Seconds that a point of a chart of latency is reckoned from. */
const SMOOTH = 5;
/** Members of the state that run on by themselves: those that grow, and those that shrink to nothing. */
const GROWING = new Set(["uptime_seconds", "age_seconds"]);
const SHRINKING = new Set(["next_refresh_seconds", "open_for_seconds", "ejected_seconds"]);
/** When the running members of an object were told. */
const TOLD = Symbol("told");

export class Model {
  status = null;
  /** `{ time, total, routes }`, a second each, the oldest first. */
  frames = [];
  bounds = [];
  period = 1;
  /** When something was last heard, by the clock of this page. */
  heard = null;

  /** Takes the whole state. What was seen before it came stays where it is older. */
  begin(told, now) {
    this.heard = now;
    this.bounds = told.bounds_seconds;
    this.period = told.period_seconds;
    this.status = stamp(told.status, now);
    for (const upstream of this.status.upstreams) upstream.counts = [];
    const first = told.history[0]?.time ?? told.time;
    this.frames = this.frames.filter((frame) => frame.time < first);
    for (const frame of told.history) this.add(frame);
    this.count(told.time);
  }

  /** Takes what has changed. */
  go(frame, now) {
    this.heard = now;
    this.add(frame);
    if (frame.status) merge(this.status, frame.status, now);
    const byName = new Map(this.status.upstreams.map((upstream) => [upstream.name, upstream]));
    for (const whole of frame.replaced ?? []) {
      const old = byName.get(whole.name);
      const place = old ? this.status.upstreams.indexOf(old) : this.status.upstreams.length;
      this.status.upstreams[place] = Object.assign(stamp(whole, now), { counts: old?.counts ?? [] });
    }
    for (const [name, { addresses, ...rest }] of Object.entries(frame.upstreams ?? {})) {
      const upstream = byName.get(name);
      if (!upstream) continue;
      merge(upstream, rest, now);
      for (const [place, patch] of Object.entries(addresses ?? {})) {
        if (upstream.addresses[place]) merge(upstream.addresses[place], patch, now);
      }
    }
    this.count(frame.time);
  }

  /** Remembers how many requests each address has had, to tell the shares of late from it. */
  count(time) {
    for (const upstream of this.status.upstreams) {
      const counts = new Map(upstream.addresses.map((address) => [placeOf(address), address.requests]));
      upstream.counts.push({ time, counts });
      while (upstream.counts.length > 2 && time - upstream.counts[1].time >= RECENT * 1000) upstream.counts.shift();
    }
  }

  /** Requests that each address of an upstream had of late, by its place, and of all of them. */
  shares(upstream) {
    const before = upstream.counts[0].counts;
    const each = new Map();
    let all = 0;
    for (const address of upstream.addresses) {
      const had = Math.max(0, address.requests - (before.get(placeOf(address)) ?? 0));
      each.set(placeOf(address), had);
      all += had;
    }
    const seconds = (upstream.counts.at(-1).time - upstream.counts[0].time) / 1000;
    return { each, all, rate: seconds > 0 ? all / seconds : 0 };
  }

  add({ time, routes }) {
    const frame = { time, total: empty(this.bounds.length + 1), routes: new Map() };
    for (const [name, numbers] of Object.entries(routes)) {
      const point = read(numbers, this.bounds.length + 1);
      frame.routes.set(name, point);
      join(frame.total, point);
    }
    this.frames.push(frame);
    const oldest = time - (WINDOW + SMOOTH) * 1000;
    while (this.frames.length > 0 && this.frames[0].time < oldest) this.frames.shift();
    const late = this.late(SMOOTH);
    this.smooth(frame.total, late.map((one) => one.total));
    for (const [name, point] of frame.routes) this.smooth(point, late.map((one) => one.routes.get(name)));
  }

  smooth(point, points) {
    const sum = empty(this.bounds.length + 1);
    for (const one of points) if (one) join(sum, one);
    point.p50 = quantile(sum, 0.5, this.bounds);
    point.p99 = quantile(sum, 0.99, this.bounds);
  }

  /** The frames of so many last seconds. */
  late(seconds) {
    const latest = this.frames.at(-1)?.time ?? 0;
    let from = this.frames.length;
    while (from > 0 && latest - this.frames[from - 1].time < seconds * 1000) from -= 1;
    return this.frames.slice(from);
  }

  /** What happened of late on a route, or on all of them. */
  recent(name) {
    const late = this.late(RECENT);
    const sum = empty(this.bounds.length + 1);
    for (const frame of late) {
      const point = name === undefined ? frame.total : frame.routes.get(name);
      if (point) join(sum, point);
    }
    return {
      requests: sum.requests,
      rate: late.length > 0 ? sum.requests / (late.length * this.period) : 0,
      client: sum.requests > 0 ? sum.client / sum.requests : 0,
      server: sum.requests > 0 ? sum.server / sum.requests : 0,
      p50: quantile(sum, 0.5, this.bounds),
      p99: quantile(sum, 0.99, this.bounds),
    };
  }

  /** What a chart of a route, or of all of them, is drawn from: `pick` makes a number of a point. */
  series(name, pick, none) {
    return this.frames.map(({ time, total, routes }) => {
      const point = name === undefined ? total : routes.get(name);
      return [time, point && point.requests > 0 ? pick(point, this.period) : none];
    });
  }

  /** The same, each point the mean of a few: for charts too small to show every second. */
  calm(name, pick) {
    const points = this.series(name, pick, 0);
    let sum = 0;
    return points.map(([time, value], at) => {
      sum += value - (at >= SMOOTH ? points[at - SMOOTH][1] : 0);
      return [time, Math.max(0, sum / Math.min(at + 1, SMOOTH))];
    });
  }
}

/** A member that runs on, as it is now. */
export function running(object, name, now) {
  const value = object?.[name];
  if (value === null || value === undefined) return null;
  const passed = (now - (object[TOLD] ?? now)) / 1000;
  return GROWING.has(name) ? value + passed : Math.max(0, value - passed);
}

/** What tells an address from the others of its upstream; one that has left may have come back. */
export function placeOf(address) {
  return address.left ? `${address.address} left` : address.address;
}

function stamp(value, now) {
  if (Array.isArray(value)) for (const one of value) stamp(one, now);
  else if (value !== null && typeof value === "object") {
    for (const [name, member] of Object.entries(value)) {
      if (GROWING.has(name) || SHRINKING.has(name)) value[TOLD] = now;
      stamp(member, now);
    }
  }
  return value;
}

/** Applies a merge patch (RFC 7396). */
function merge(target, patch, now) {
  for (const [name, value] of Object.entries(patch)) {
    if (name === "__proto__") continue;
    if (GROWING.has(name) || SHRINKING.has(name)) target[TOLD] = now;
    const known = Object.hasOwn(target, name) ? target[name] : undefined;
    const isTable = (one) => one !== null && typeof one === "object" && !Array.isArray(one);
    if (value === null) delete target[name];
    else if (isTable(value) && isTable(known)) merge(known, value, now);
    else target[name] = stamp(value, now);
  }
}

function empty(buckets) {
  return { requests: 0, client: 0, server: 0, took: new Array(buckets).fill(0), p50: null, p99: null };
}

function read([client, server, ...pairs], buckets) {
  const point = empty(buckets);
  point.client = client;
  point.server = server;
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    point.took[pairs[at]] += pairs[at + 1];
    point.requests += pairs[at + 1];
  }
  return point;
}

function join(sum, point) {
  sum.requests += point.requests;
  sum.client += point.client;
  sum.server += point.server;
  for (let bucket = 0; bucket < sum.took.length; bucket += 1) sum.took[bucket] += point.took[bucket];
}

/** The duration that this share of the requests took at most, in seconds, as Prometheus reckons it from buckets. */
export function quantile({ requests, took }, share, bounds) {
  if (requests === 0) return null;
  const rank = share * requests;
  let below = 0;
  for (let bucket = 0; bucket < bounds.length; bucket += 1) {
    if (below + took[bucket] >= rank) {
      const from = bucket === 0 ? 0 : bounds[bucket - 1];
      return from + (bounds[bucket] - from) * ((rank - below) / took[bucket]);
    }
    below += took[bucket];
  }
  return bounds.at(-1);
}

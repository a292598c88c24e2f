// Makes and changes elements, and says numbers as people read them. Text stays text: nothing on this page makes markup
// of a string, and the browser is told to refuse it.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (functions are listeners) and children (strings are text). */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in a drawing. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else set(node, name, value);
  }
  node.append(...children);
  return node;
}

/** Sets an attribute where it is another; false, null and undefined take it away. */
export function set(node, name, value) {
  if (value === false || value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Sets the text where it is another, so that what has not changed is not touched. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Keeps the children of a node in step with a list: one for each key, made once, brought up to date each time, and moved
 * only where the order has changed. `make` returns `{ node, update }`.
 */
export class List {
  constructor(parent, key, make) {
    this.parent = parent;
    this.key = key;
    this.make = make;
    this.rows = new Map();
  }

  update(items, ...rest) {
    const before = this.rows;
    this.rows = new Map();
    let place = this.parent.firstChild;
    for (const item of items) {
      let key = this.key(item);
      // An address may have left twice, and be finishing both times.
      while (this.rows.has(key)) key += " again";
      const row = before.get(key) ?? this.make(item);
      before.delete(key);
      this.rows.set(key, row);
      if (row.node === place) place = place.nextSibling;
      else this.parent.insertBefore(row.node, place);
      row.update(item, ...rest);
    }
    for (const row of before.values()) row.node.remove();
  }
}

/** A whole number with its thousands apart. */
export function whole(value) {
  return Math.round(value).toLocaleString("en");
}

/** A rate: as many digits as are worth reading. */
export function rate(value) {
  if (value === 0) return "0";
  if (value < 0.1) return "< 0.1";
  return value < 10 ? value.toFixed(1) : whole(value);
}

/** A share. */
export function percent(value) {
  if (value === 0) return "0 %";
  if (value < 0.001) return "< 0.1 %";
  const points = value * 100;
  return `${points < 10 && points % 1 !== 0 ? points.toFixed(1) : Math.round(points)} %`;
}

/** A duration in seconds, as latency. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const millis = seconds * 1000;
  if (millis < 10) return `${millis.toFixed(1)} ms`;
  return millis < 1000 ? `${Math.round(millis)} ms` : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

/** A duration in seconds, as a span of time. */
export function span(seconds) {
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** An amount of bytes. */
export function bytes(value) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (value < 1024) return `${value < 10 && value % 1 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} GiB`;
}

/** A count and its noun. */
export function many(count, noun, plural = `${noun}s`) {
  return `${whole(count)} ${count === 1 ? noun : plural}`;
}

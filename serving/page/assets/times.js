// Times as a person reads them, which grow older while one looks.

import { make } from "./elements.js";

const _EVERY_MS = 5000;
const _STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 365], ["year", Infinity]];
const _relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });

/** How long ago a moment, as RFC 3339 has it, was: "3 minutes ago". */
export function ago(moment) {
  let count = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  for (const [unit, many] of _STEPS) {
    if (count < many) return _relative.format(-Math.floor(count), unit);
    count /= many;
  }
  return "";
}

/** An element that says how long ago a moment was; `unknown` where there is none. */
export function age(moment, unknown = "at a time that nobody knows") {
  if (moment === null) return make("span", {}, unknown);
  return make("time", { datetime: moment, title: moment, "data-age": "" }, ago(moment));
}

/** The time of the day, to the second. */
export function clock(date = new Date()) {
  return date.toLocaleTimeString("en-GB");
}

/** The seconds from a moment, in ms since 1970, to now: "0.31 s"; "" where nobody knows it. */
export function secondsSince(ms) {
  return ms === null ? "" : `${Math.max(0, (Date.now() - ms) / 1000).toFixed(2)} s`;
}

setInterval(() => {
  for (const each of document.querySelectorAll("time[data-age]")) each.textContent = ago(each.dateTime);
}, _EVERY_MS);

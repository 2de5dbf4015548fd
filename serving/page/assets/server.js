// What the server is asked, with the key that was typed. The key is in this tab alone, and in no URL.

import { events } from "./events.js";

const _KEPT = "freshet.key";
const _here = new EventTarget();
let _key = _kept();

/** The server, or the way to it, refuses: `status` is 0 where nothing was answered. */
export class Refused extends Error {
  constructor(status, detail, body = null) {
    super(detail);
    this.status = status;
    this.body = body;
  }
}

/** Whether a key was typed. */
export function hasKey() {
  return _key !== "";
}

/** Take another key, or none; `keep` it until the tab is closed. Raises Refused where it can be no key. */
export function useKey(key, keep) {
  if (!/^[\x21-\x7e]*$/.test(key)) throw new Refused(0, "A key has letters, digits and signs of ASCII alone.");
  _key = key;
  try {
    if (keep && key) sessionStorage.setItem(_KEPT, key);
    else sessionStorage.removeItem(_KEPT);
  } catch {
    // a browser that keeps nothing: it is in memory
  }
  _here.dispatchEvent(new Event("key"));
}

/** Call back whenever the key is another one. */
export function onKey(call) {
  _here.addEventListener("key", call);
}

/** What the server answers to a question, as JSON. Raises Refused. */
export async function ask(path, body = undefined, signal = undefined) {
  return _json(await (await _answer(path, body, {}, signal)).text());
}

/** The server-sent events of an answer, as they come. Raises Refused. */
export async function* listen(path, body = undefined, headers = {}, signal = undefined) {
  const answer = await _answer(path, body, headers, signal);
  try {
    yield* events(answer.body);
  } catch (error) {
    throw _failure(error);
  }
}

async function _answer(path, body, headers, signal) {
  const known = _key ? { Authorization: `Bearer ${_key}` } : {};
  const given = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const options = { ...given, headers: { ...known, ...headers }, cache: "no-store", credentials: "omit", signal };
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), options);
  } catch (error) {
    throw _failure(error);
  }
  if (!answer.ok) throw await _refusal(answer);
  return answer;
}

function _failure(error) {
  return error.name === "AbortError" ? error : new Refused(0, "The server can't be reached. Is it running?");
}

async function _refusal(answer) {
  let body = null;
  try {
    body = _json(await answer.text());
  } catch {
    // no problem of the server's: of what stands before it
  }
  const said = body?.detail ?? body?.error?.message ?? `the server answers ${answer.status}`;
  return new Refused(answer.status, said, body);
}

/** JSON, with whole numbers that a float can't hold as their digits. */
function _json(text) {
  return JSON.parse(text, (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value,
  );
}

function _kept() {
  try {
    return sessionStorage.getItem(_KEPT) ?? "";
  } catch {
    return "";
  }
}

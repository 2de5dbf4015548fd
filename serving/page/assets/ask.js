// A question, its answer as it comes, and the passages that it is made of.

import { described, make, the } from "./elements.js";
import { freshness, passage, withLinks } from "./passages.js";
import { Refused, ask, listen } from "./server.js";

const _END = "[DONE]";
let _offer = null;
let _running = null;

/** Say what is offered: which indexes, whether a model answers, whether there are profiles. */
export function offered(offer) {
  _offer = offer;
  const boxes = offer.indexes.map(({ name }) => {
    const box = make("input", { type: "checkbox", name: "index", value: name, checked: "" });
    return make("label", {}, box, ` ${name}`);
  });
  the("indexes").replaceChildren(make("legend", {}, "Indexes"), ...boxes);
  the("customer-field").hidden = offer.profiles === null;
  the("ask-form").querySelector("[type=submit]").disabled = offer.indexes.length === 0;
}

the("stop").addEventListener("click", () => _running?.abort());

the("ask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  _running?.abort();
  const running = (_running = new AbortController());
  _begin();
  try {
    const asked = _grounds();
    const began = performance.now();
    await (_offer?.model ? _answered : _found)(the("question").value, asked, began, running.signal);
  } catch (error) {
    if (running === _running) _failed(error);
  } finally {
    if (running === _running) _end();
  }
});

function _begin() {
  for (const id of ["problem", "ask-status"]) the(id).textContent = "";
  the("answer").replaceChildren();
  for (const id of ["answer-box", "found", "prompt-box", "asker"]) the(id).hidden = true;
  the("stop").hidden = false;
  the("ask-status").textContent = "Looking…";
}

function _end() {
  the("stop").hidden = true;
  the("answer").removeAttribute("aria-busy");
}

function _failed(error) {
  const stopped = error.name === "AbortError";
  the("ask-status").textContent = stopped ? "Stopped." : "";
  if (stopped) return;
  if (error.body?.freshet) _showFound(error.body.freshet);
  the("problem").textContent = error.message;
}

function _grounds() {
  const indexes = [...the("indexes").querySelectorAll("input:checked")].map((each) => each.value);
  if (indexes.length === 0) throw new Refused(0, "Choose an index.");
  const given = { indexes };
  if (the("mode").value) given.mode = the("mode").value;
  if (the("k").value) given.k = Number(the("k").value);
  if (the("customer").value.trim() && _offer.profiles) given.customer = the("customer").value.trim();
  if (the("filter").value.trim()) given.filter = _filter(the("filter").value);
  return given;
}

function _filter(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(0, 'The filter is no JSON; one is {"lang": "de"}.');
  }
}

async function _found(question, grounds, began, signal) {
  const made = await ask("v1/context", { question, ...grounds }, signal);
  _showFound(made);
  the("prompt").textContent = made.prompt;
  the("prompt-box").hidden = false;
  the("ask-status").textContent = `${_many(made)} in ${Math.round(performance.now() - began)} ms.`;
}

async function _answered(question, grounds, began, signal) {
  const messages = [{ role: "user", content: question }];
  const chat = { model: _offer.model, messages, stream: true, freshet: grounds };
  let [text, citations, first] = ["", [], null];
  for await (const { data } of listen("v1/chat/completions", chat, {}, signal)) {
    if (data === "" || data === _END) continue;
    const piece = JSON.parse(data);
    if (piece.freshet) {
      citations = piece.freshet.citations;
      _showFound(piece.freshet);
    }
    if (piece.error) throw new Refused(0, piece.error.message, piece);
    const delta = piece.choices?.[0]?.delta?.content ?? "";
    if (delta !== "") {
      first ??= performance.now();
      text += delta;
      _say(text, citations);
      the("ask-status").textContent = "Answering…";
    }
  }
  _say(text, citations);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const token = first === null ? "" : `, its first word after ${Math.round(first - began)} ms`;
  the("ask-status").textContent = `Answered in ${seconds} s${token}.`;
}

function _say(text, citations) {
  the("answer-box").hidden = false;
  the("answer").setAttribute("aria-busy", "true");
  the("answer").replaceChildren(...withLinks(text, citations));
}

function _showFound(found) {
  const several = _offer !== null && _offer.indexes.length > 1;
  the("found").hidden = false;
  the("passages").replaceChildren(...found.citations.map((each) => passage(each, several)));
  const { size, most, unit } = found.size;
  const out = found.left_out.length ? ` ${found.left_out.length} chunks had no room in it.` : "";
  const prompt = `The prompt has ${size} of ${most} ${unit}.${out} `;
  the("fresh").replaceChildren(`${_many(found)}. ${prompt}`, ...freshness(found.as_of, several));
  the("asker").hidden = found.profile === null;
  if (found.profile !== null) {
    const left = found.profile_left_out ? "There was no room for it in the prompt." : "As the prompt has it.";
    const named = make("p", { class: "quiet" }, `Profile ${found.profile.profile_id}. ${left}`);
    the("asker").replaceChildren(make("h2", {}, "Who asks"), named, make("dl", {}, described(found.profile.values)));
  }
}

function _many(found) {
  const many = found.citations.length;
  return many === 1 ? "1 passage" : `${many || "No"} passages`;
}

// a mark that is pointed at, or has the focus, shows which passage it is of
for (const name of ["pointerover", "pointerout", "focusin", "focusout"]) {
  the("answer").addEventListener(name, ({ target }) => {
    const on = name === "pointerover" || name === "focusin";
    const found = target.dataset?.mark && the("passages").querySelector(`[data-mark="${Number(target.dataset.mark)}"]`);
    if (found) found.classList.toggle("pointed", on);
  });
}

// Server-sent events of a response's body (WHATWG HTML, 9.2). EventSource can't send a key, so they are read here.

/** The events, one after the other: their name, data, and the id that stands by then. */
export async function* events(body) {
  let rest = "";
  let event = { name: "message", data: [] };
  let id = null;
  for await (const piece of _texts(body)) {
    // a line feed may follow a carriage return that ends a piece
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (line === "") {
        if (event.data.length || id !== null) yield { name: event.name, data: event.data.join("\n"), id };
        event = { name: "message", data: [] };
      } else if (field === "event") event.name = value ?? "";
      else if (field === "data") event.data.push(value ?? "");
      else if (field === "id") id = value ?? "";
    }
  }
}

async function* _texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

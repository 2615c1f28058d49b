// The server's routes as functions: JSON in and out, answers as a stream of deltas, refusals as errors with words.

const PLACE = "hone.key";

export class Refused extends Error {
  constructor(message, { status = 0, code = "", param = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

/** The key: from the address (`#key=…`, which no server sees and which is taken out of the address at once), or typed before. */
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem(PLACE, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(PLACE) || "";
}

export function keepKey(key) {
  sessionStorage.setItem(PLACE, key);
}

async function ask(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(PLACE);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const error = told.error || {};
  throw new Refused(error.message || `HTTP ${answer.status}`, { ...error, status: answer.status });
}

export const info = async () => (await ask("info")).json();

/** The chunks of one answer. Aborting the signal closes the connection, and the server then stops computing. */
export async function* chat(body, signal) {
  const answer = await ask("v1/chat/completions", { body: { ...body, stream: true }, signal });
  for await (const event of events(answer.body.getReader())) {
    if (event === "[DONE]") return;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Refused(chunk.error.message, chunk.error);
    yield chunk;
  }
  throw new TypeError("the stream broke off");
}

async function* events(reader) {
  const decoder = new TextDecoder();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    waiting += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const whole = waiting.split("\n\n");
    waiting = whole.pop();
    for (const one of whole) {
      const data = one.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length) yield data.join("\n");
    }
    if (done) return;
  }
}

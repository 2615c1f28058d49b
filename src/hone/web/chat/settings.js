// The settings beside the conversation: what they are, and how they enter a request.

import { element } from "../shared/element.js";
import { say, translate } from "../shared/words.js";

const FIELDS = [
  ["max_tokens", { min: 1, max: 1048576, step: 1 }, "max_new_tokens"],
  ["temperature", { min: 0, max: 2, step: 0.05 }],
  ["top_p", { min: 0.01, max: 1, step: 0.01 }],
  ["top_k", { min: 0, max: 100000, step: 1 }],
  ["repetition_penalty", { min: 0.1, max: 10, step: 0.05 }],
  ["seed", { step: 1 }],
];
const round = (value) => (typeof value === "number" ? Math.round(value * 1e6) / 1e6 : (value ?? ""));

export class Settings {
  constructor(place, facts) {
    this.facts = facts;
    this.fields = new Map();
    for (const [name, limits, served = name] of FIELDS) {
      const usual = round(facts.settings[served]);
      const input = element("input", { id: name, type: "number", inputmode: "decimal", value: usual, ...limits });
      this.fields.set(name, { input, usual: String(usual) });
      place.append(element("div", { class: name === "seed" ? "long" : "" }, element("label", { for: name, "data-say": name }), input));
    }
    this.flags = ["skip_special_tokens", ...(facts.parameters.includes("enable_thinking") ? ["enable_thinking"] : [])];
    for (const name of this.flags) {
      const input = element("input", { id: name, type: "checkbox", checked: facts.settings[name] ?? true });
      this.fields.set(name, { input });
      place.append(element("div", { class: "check" }, element("label", {}, input, element("span", { "data-say": name }))));
    }
    translate(place);
  }

  /** The parameters that differ from the server's own; the server's hold for what was not touched. */
  get chosen() {
    const chosen = {};
    for (const [name, { input, usual }] of this.fields) {
      if (input.type === "checkbox") {
        if (input.checked !== (this.facts.settings[name] ?? true)) chosen[name] = input.checked;
      } else if (input.value !== "" && input.value !== usual) chosen[name] = Number(input.value);
    }
    if (chosen.seed < 0) delete chosen.seed;
    return chosen;
  }
}

/** The tools that a text holds, in OpenAI's shape. Throws an Error with words. */
export function readTools(text, known) {
  if (!text.trim()) return [];
  if (!known) throw new Error(say("toolsNone"));
  let read;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(say("toolsBad", { why: error.message }));
  }
  const tools = (Array.isArray(read) ? read : [read]).map((one) => (one?.function ? one : { type: "function", function: one }));
  if (!tools.every((one) => typeof one.function?.name === "string" && one.function.name)) throw new Error(say("toolsShape"));
  return tools;
}

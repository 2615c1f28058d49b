// How a message looks. Everything a model or a user wrote becomes text nodes.

import { element } from "../shared/element.js";
import { markdown } from "../shared/markdown.js";
import { say } from "../shared/words.js";

const button = (key, act) => element("button", { type: "button", class: "plain", onclick: act }, say(key));

const copier = (text) =>
  button("copy", async (event) => {
    const pressed = event.currentTarget;
    await navigator.clipboard?.writeText(text);
    pressed.textContent = say("copied");
    setTimeout(() => (pressed.textContent = say("copy")), 1500);
  });

const textOf = (content) =>
  typeof content === "string" ? content : (content ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");

const picturesOf = (content) =>
  Array.isArray(content) ? content.filter((part) => part.type === "image_url").map((part) => element("img", { src: part.image_url.url, alt: "" })) : [];

function thought(message) {
  const open = element("details", {}, element("summary", {}, say(message.content || message.done ? "thought" : "thinking")));
  open.append(element("div", {}, message.reasoning_content));
  return open;
}

function call(one, acts) {
  let shown = one.function.arguments;
  try {
    shown = JSON.stringify(JSON.parse(shown), null, 2);
  } catch { /* shown as it was written */ }
  const head = element("header", {}, say("calls", { name: one.function.name }), button("giveResult", () => acts.result(one)));
  return element("section", { class: "call" }, head, element("pre", { tabindex: "0" }, element("code", {}, shown)));
}

function body(message, acts) {
  const out = [];
  if (message.reasoning_content) out.push(thought(message));
  const said = element("div", { class: "said" });
  if (message.role === "assistant") said.append(markdown(textOf(message.content), { copy: copier }));
  else said.append(...picturesOf(message.content), textOf(message.content));
  if (said.hasChildNodes()) out.push(said);
  for (const one of message.tool_calls ?? []) out.push(call(one, acts));
  if (message.role === "assistant" && !message.done) out.push(element("span", { class: "waiting", "aria-hidden": "true" }));
  if (message.note) out.push(element("p", { class: "note" }, say(message.note)));
  if (message.fault) out.push(element("div", { class: "fault", role: "alert" }, message.fault));
  return out;
}

function actions(message, acts, last) {
  if (!message.done) return null;
  const row = element("div", { class: "actions" }, copier(textOf(message.content)));
  if (message.role !== "assistant") row.append(button("edit", () => acts.edit(message)));
  else if (last) row.append(button("again", () => acts.again(message)));
  return row;
}

/** The message as an article, put in the place of the one that showed it before. */
export function show(message, acts, { last = false } = {}) {
  const open = message.shown?.querySelector("details")?.open;
  const name = { user: "you", assistant: "assistant", tool: "tool" }[message.role];
  const made = element("article", { class: message.role, "aria-busy": String(!message.done) });
  made.append(element("h2", message.role === "user" ? { class: "unseen" } : {}, say(name)), ...body(message, acts));
  const row = actions(message, acts, last);
  if (row) made.append(row);
  if (open) made.querySelector("details")?.setAttribute("open", "");
  message.shown?.replaceWith(made);
  message.shown = made;
  return made;
}

/** The message as a form, to be written anew. */
export function edit(message, { save, cancel }) {
  const field = element("textarea", { rows: "3", "aria-label": say("edit") });
  field.value = textOf(message.content);
  const row = element("div", { class: "actions" }, button("save", () => save(field.value)), button("cancel", cancel));
  message.shown.replaceChildren(field, row);
  field.focus();
}

// Markdown as a model writes it, read into elements and text nodes; whatever else stands there stays text.

import { element } from "./element.js";

const FENCE = /^\s*(```+|~~~+)\s*([\w+#.-]*)\s*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^\s{0,3}>\s?(.*)$/;
const RULE = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/;
const TABLE = /^\s*\|?(\s*:?-{2,}:?\s*\|)+\s*(:?-{2,}:?)?\s*$/;

export function markdown(text, { copy = null } = {}) {
  const out = document.createDocumentFragment();
  const lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (fence) {
      const from = ++at;
      while (at < lines.length && !lines[at].trim().startsWith(fence[1])) at++;
      out.append(code(lines.slice(from, at++).join("\n"), fence[2], copy));
    } else if (!line.trim()) {
      at++;
    } else if (HEADING.test(line)) {
      const [, marks, said] = HEADING.exec(line);
      out.append(element(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(said)));
      at++;
    } else if (RULE.test(line)) {
      out.append(element("hr"));
      at++;
    } else if (QUOTE.test(line)) {
      const said = [];
      while (at < lines.length && QUOTE.test(lines[at])) said.push(QUOTE.exec(lines[at++])[1]);
      out.append(element("blockquote", {}, markdown(said.join("\n"), { copy })));
    } else if (ITEM.test(line)) {
      at = list(lines, at, out);
    } else if (line.includes("|") && TABLE.test(lines[at + 1] ?? "")) {
      at = table(lines, at, out);
    } else {
      const said = [];
      while (at < lines.length && lines[at].trim() && !begins(lines, at, said.length)) said.push(lines[at++]);
      out.append(element("p", {}, ...said.flatMap((one, place) => [...(place ? [element("br")] : []), ...inline(one)])));
    }
  }
  return out;
}

const begins = (lines, at, already) =>
  already && [FENCE, HEADING, RULE, QUOTE, ITEM].some((form) => form.test(lines[at]));

function code(text, kind, copy) {
  const head = element("figcaption", {}, element("span", {}, kind || "text"));
  if (copy) head.append(copy(text));
  return element("figure", { class: "code" }, head, element("pre", { tabindex: "0" }, element("code", {}, text)));
}

function list(lines, at, out) {
  const depth = (line) => ITEM.exec(line)[1].length;
  const first = depth(lines[at]);
  const ordered = /\d/.test(ITEM.exec(lines[at])[2]);
  const made = element(ordered ? "ol" : "ul", ordered ? { start: parseInt(ITEM.exec(lines[at])[2], 10) } : {});
  while (at < lines.length && ITEM.test(lines[at]) && depth(lines[at]) >= first) {
    if (depth(lines[at]) > first && made.lastChild) at = list(lines, at, made.lastChild);
    else made.append(element("li", {}, ...inline(ITEM.exec(lines[at++])[3])));
    if (!lines[at]?.trim() && ITEM.test(lines[at + 1] ?? "") && /\d/.test(ITEM.exec(lines[at + 1])[2]) === ordered) at++;
  }
  out.append(made);
  return at;
}

function table(lines, at, out) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => inline(cell.trim()));
  const row = (line, kind) => element("tr", {}, ...cells(line).map((cell) => element(kind, {}, ...cell)));
  const made = element("table", {}, element("thead", {}, row(lines[at], "th")));
  const body = element("tbody");
  for (at += 2; at < lines.length && lines[at].includes("|"); at++) body.append(row(lines[at], "td"));
  made.append(body);
  out.append(element("div", { class: "wide", tabindex: "0" }, made));
  return at;
}

const MARKS = [
  [/`+([^`]+)`+/, (found) => element("code", {}, found[1])],
  [/\*\*(?=\S)([^*]+(?:\*[^*]+)*)\*\*/, (found) => element("strong", {}, ...inline(found[1]))],
  [/~~(?=\S)([^~]+)~~/, (found) => element("del", {}, ...inline(found[1]))],
  [/(?<![\w*])\*(?=\S)([^*]+)\*(?!\w)/, (found) => element("em", {}, ...inline(found[1]))],
  [/\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/, (found) => link(found[2], found[1])],
  [/https?:\/\/[^\s<>()"'`]+[^\s<>()"'`.,;:!?]/, (found) => link(found[0], found[0])],
];

const link = (href, text) => element("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, text);

function inline(text) {
  let best = null;
  for (const [form, make] of MARKS) {
    const found = form.exec(text);
    if (found && (!best || found.index < best.found.index)) best = { found, make };
  }
  if (!best) return text ? [document.createTextNode(text)] : [];
  const { found, make } = best;
  const before = text.slice(0, found.index);
  const after = text.slice(found.index + found[0].length);
  return [...(before ? [document.createTextNode(before)] : []), make(found), ...inline(after)];
}

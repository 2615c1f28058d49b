// The chat page: the conversation, and what the buttons do to it.

import { chat, info, keepKey, Refused, takeKey } from "../shared/api.js";
import { element } from "../shared/element.js";
import { showLook, switchLook } from "../shared/look.js";
import { choose, language, openWords, say } from "../shared/words.js";
import { Models } from "./models.js";
import { readTools, Settings } from "./settings.js";
import { edit, show } from "./view.js";

const $ = (id) => document.getElementById(id);
const PAGE = "chat";
let facts, models, settings, stopper;
let messages = [];
let pictures = [];
let answersTo = "";

const wire = ({ role, content, reasoning_content, tool_calls, tool_call_id }) =>
  JSON.parse(JSON.stringify({ role, content, reasoning_content, tool_calls, tool_call_id }));

const kept = () => messages.filter((one) => one.role !== "assistant" || one.content || one.tool_calls);

const conversation = () => {
  const system = $("system").value.trim();
  return [...(system ? [{ role: "system", content: system }] : []), ...kept().map(wire)];
};

function draw() {
  $("empty").hidden = messages.length > 0;
  $("thread").replaceChildren(...messages.map((one, place) => show(one, acts, { last: place === messages.length - 1 })));
}

const nearEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 80;
const toEnd = () => ($("scroll").scrollTop = $("scroll").scrollHeight);

function complain(place, words) {
  place.textContent = words;
  place.hidden = !words;
}

function words(error) {
  if (!(error instanceof Refused)) return say("lost");
  if (error.status === 429 || error.code === "queue_full") return say("full");
  if (error.code === "context_length_exceeded") return say("long");
  return say("refused", { why: error.message });
}

function toolsNow() {
  try {
    const tools = readTools($("tools").value, facts.tools);
    complain($("toolsFault"), "");
    return tools;
  } catch (error) {
    complain($("toolsFault"), error.message);
    return null;
  }
}

async function answer() {
  const tools = toolsNow();
  if (!tools) return openPanel(true);
  const asked = conversation();
  const reply = { role: "assistant", content: "", done: false };
  messages.push(reply);
  draw();
  toEnd();
  stopper = new AbortController();
  busy(true);
  let drawn = 0;
  const redraw = () => {
    drawn = 0;
    const follow = nearEnd();
    show(reply, acts, { last: true });
    if (follow) toEnd();
  };
  try {
    const body = { model: models.chosen, messages: asked, ...settings.chosen, ...(tools.length ? { tools } : {}) };
    for await (const chunk of chat(body, stopper.signal)) {
      take(reply, chunk.choices?.[0]);
      drawn ||= requestAnimationFrame(redraw);
    }
  } catch (error) {
    if (stopper.signal.aborted) reply.note = "stopped";
    else if (error.status === 401) reply.fault = say("keyBad"), void unlock(true);
    else reply.fault = words(error);
  }
  cancelAnimationFrame(drawn);
  reply.done = true;
  busy(false);
  redraw();
  $("status").textContent = reply.fault ?? say(reply.note ?? "answered");
}

function take(reply, choice) {
  const delta = choice?.delta ?? {};
  reply.content += delta.content ?? "";
  if (delta.reasoning_content) reply.reasoning_content = (reply.reasoning_content ?? "") + delta.reasoning_content;
  for (const { index, ...call } of delta.tool_calls ?? []) (reply.tool_calls ??= [])[index] = call;
  if (choice?.finish_reason === "length") reply.note = "cut";
}

function busy(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  if (on) $("status").textContent = say("answering");
  else stopper = null;
}

function send() {
  const text = $("ask").value.trim();
  if (stopper || (!text && !pictures.length) || !facts) return;
  if (!toolsNow()) return openPanel(true);
  const role = $("role").value;
  const parts = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  const content = parts.length ? [...parts, { type: "text", text }] : text;
  messages.push({ role, content, done: true, ...(role === "tool" ? { tool_call_id: answersTo || undefined } : {}) });
  $("ask").value = "";
  $("role").value = "user";
  pictures = [];
  drawPictures();
  grow();
  void answer();
}

const acts = {
  again(message) {
    if (stopper) return;
    messages = messages.slice(0, messages.indexOf(message));
    void answer();
  },
  edit(message) {
    if (stopper) return;
    edit(message, {
      cancel: draw,
      save(text) {
        messages = messages.slice(0, messages.indexOf(message));
        const others = Array.isArray(message.content) ? message.content.filter((part) => part.type !== "text") : [];
        messages.push({ ...message, content: others.length ? [...others, { type: "text", text }] : text });
        void answer();
      },
    });
  },
  result(call) {
    answersTo = call.id;
    $("role").value = "tool";
    $("ask").focus();
  },
};

function grow() {
  $("ask").style.height = "auto";
  $("ask").style.height = `${$("ask").scrollHeight + 2}px`;
}

function drawPictures() {
  const remove = (url) => () => ((pictures = pictures.filter((one) => one !== url)), drawPictures());
  $("pictures").replaceChildren(
    ...pictures.map((url) => element("button", { type: "button", "aria-label": say("remove"), title: say("remove"), onclick: remove(url) }, element("img", { src: url, alt: "" }))),
  );
}

async function addPictures(files) {
  pictures.push(...(await Promise.all(files.map(dataUrl))));
  drawPictures();
}

const dataUrl = (file) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });

function openPanel(on) {
  $("panel").hidden = !on;
  $("settings").setAttribute("aria-expanded", String(on));
  if (on) $("system").focus();
  else $("settings").focus();
}

function save() {
  const kept = { messages: conversation(), tools: toolsNow() ?? [], model: models.chosen, settings: settings.chosen };
  const url = URL.createObjectURL(new Blob([JSON.stringify(kept, null, 2)], { type: "application/json" }));
  element("a", { href: url, download: "conversation.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function unlock(failed) {
  $("keyFault").hidden = !failed;
  if (!$("door").open) $("door").showModal();
  return new Promise((done) => {
    $("doorForm").onsubmit = () => (keepKey($("key").value.trim()), done());
  });
}

async function enter() {
  let tried = Boolean(takeKey());
  for (;;) {
    try {
      return await info();
    } catch (error) {
      if (error.status !== 401) throw error;
      await unlock(tried);
      tried = true;
    }
  }
}

function name() {
  if (facts) $("emptyMore").textContent = say("emptyMore", { model: $("choice").value });
}

function listen() {
  $("composer").onsubmit = (event) => (event.preventDefault(), send());
  $("ask").oninput = grow;
  $("ask").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (stopper) stopper.abort();
    else if (!$("panel").hidden) openPanel(false);
  });
  $("stop").onclick = () => stopper?.abort();
  $("clear").onclick = () => (stopper?.abort(), (messages = []), draw(), $("ask").focus());
  $("look").onclick = switchLook;
  $("settings").onclick = () => openPanel($("panel").hidden);
  $("close").onclick = () => openPanel(false);
  $("export").onclick = save;
  $("tools").onchange = toolsNow;
  $("language").onchange = async () => (await choose(PAGE, $("language").value), name(), draw());
  $("scroll").onscroll = () => ($("latest").hidden = nearEnd());
  $("latest").onclick = toEnd;
  $("picture").onclick = () => $("file").click();
  $("file").onchange = async () => {
    await addPictures([...$("file").files]);
    $("file").value = "";
  };
  $("ask").onpaste = (event) => {
    const found = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (!facts?.sees || !found.length) return;
    event.preventDefault();
    void addPictures(found);
  };
}

async function open() {
  showLook();
  const languages = await openWords(PAGE);
  $("language").append(...Object.entries(languages).map(([code, own]) => element("option", { value: code }, own)));
  $("language").value = language();
  listen();
  try {
    facts = await enter();
  } catch (error) {
    return complain($("fault"), words(error));
  }
  settings = new Settings($("sampling"), facts);
  models = new Models($("model"), $("choice"), facts.models, name);
  $("picture").hidden = !facts.sees;
  $("ask").focus();
  document.documentElement.dataset.ready = "";
}

void open();

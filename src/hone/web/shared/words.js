// Words of the page in the user's language. A language is one table in the page's folder `words`; English fills its gaps.

const KEPT = "hone.language";
let table = {};
let english = {};

export const say = (key, values = {}) =>
  (table[key] ?? english[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

export const language = () => document.documentElement.lang;

export async function openWords(page) {
  const languages = await read("web/languages.json");
  english = await read(`web/${page}/words/en.json`);
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages.map((one) => one.slice(0, 2)), "en"];
  await speak(page, wanted.find((one) => one && languages[one]));
  return languages;
}

export async function speak(page, code) {
  table = code === "en" ? english : await read(`web/${page}/words/${code}.json`);
  document.documentElement.lang = code;
  translate(document);
}

export async function choose(page, code) {
  localStorage.setItem(KEPT, code);
  await speak(page, code);
}

/** `data-say="key"` names an element's text; `data-say-label`, `-title`, `-placeholder` its attributes. */
export function translate(root) {
  for (const one of root.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of root.querySelectorAll("[data-say-label]")) one.setAttribute("aria-label", say(one.dataset.sayLabel));
  for (const one of root.querySelectorAll("[data-say-title]")) one.title = say(one.dataset.sayTitle);
  for (const one of root.querySelectorAll("[data-say-placeholder]")) one.placeholder = say(one.dataset.sayPlaceholder);
}

const read = async (path) => (await fetch(path)).json();

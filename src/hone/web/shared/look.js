// Light and dark: as the system is, until the user chooses.

const KEPT = "hone.look";
const dark = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => (localStorage.getItem(KEPT) || (dark.matches ? "dark" : "light")) === "dark";

export function showLook() {
  document.documentElement.dataset.look = isDark() ? "dark" : "light";
}

export function switchLook() {
  localStorage.setItem(KEPT, isDark() ? "light" : "dark");
  showLook();
}

dark.addEventListener("change", showLook);

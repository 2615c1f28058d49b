// Who answers: the model, or one of its adapters that have names. The choice is shown where there is one.

import { info } from "../shared/api.js";
import { element } from "../shared/element.js";

export class Models {
  /** `named` is called with the name of who answers, at first and whenever it changes. */
  constructor(label, select, names, named) {
    Object.assign(this, { label, select, named, names: [] });
    this.show(names);
    select.onchange = () => this.tell();
    window.addEventListener("focus", () => void this.refresh());
  }

  get chosen() {
    return this.select.value;
  }

  show(names) {
    if (String(names) === String(this.names)) return;
    const before = this.chosen;
    this.names = names;
    this.select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    if (names.includes(before)) this.select.value = before;
    this.select.hidden = names.length < 2;
    this.label.hidden = !this.select.hidden;
    this.tell();
  }

  tell() {
    this.label.textContent = this.chosen;
    document.title = `${this.chosen} · Hone`;
    this.named(this.chosen);
  }

  /** Adapters come and go while the server runs. */
  async refresh() {
    const facts = await info().catch(() => null);
    if (facts) this.show(facts.models);
  }
}

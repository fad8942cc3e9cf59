// The frame of a widget: its controls, its sentence, its buttons, and its settings in the address.

import { clamp, input, parse, told } from "./controls.mjs";
import { keepRoom, make } from "./dom.mjs";
import { csv } from "./format.mjs";

/**
 * Build the frame and keep it in step with the model.
 *
 * context    what render was called with: {model, el, page}. `page` is given by the loader of the
 *            book, {parameters, link, connect, moved}, and missing in a live notebook.
 * title      name of the widget.
 * controls   trait -> control, see controls.mjs; each is a setting that goes into the address. One
 *            that is `hidden` has no place in the panel: the widget sets it in a way of its own.
 * update     (settings, changed) => void, called once per frame at most; `changed` is a set of
 *            names, all of them at the first call.
 * python     (settings) => the code cell that makes the same point with initscope.
 * table      () => {columns, rows}, what is shown, for the download.
 * longest    (settings) => letters of the longest sentence there can be while a slider is dragged; so
 *            much room it has, so that nothing moves.
 * reset      whether there is a button that sets all back to the start (yes, unless false).
 * settle     (settings, named) => settings that go together, where one decides another; `named` are those
 *            that an address or a button in the text gives.
 *
 * Returns {panel, view, message, buttons, settings, set, enable, note, offer, say, refresh, destroy}:
 * elements for more controls, pictures, the sentence and buttons; the settings now; `set(changes)`;
 * `enable(name, yes)`; `note(name, text)`, below a slider; `offer(name, {options, label})` changes what
 * a control offers, and its setting where that is no longer offered; `say(sentence)`; `refresh()` asks
 * for another update; `destroy()` is what render returns.
 *
 * @param {{ model: any, el: HTMLElement, page?: any }} context
 * @param {{
 *   title: string, controls: Record<string, any>, update: (settings: any, changed: Set<string>) => void,
 *   python?: (settings: any) => string, table?: () => { columns: string[], rows: any[][] },
 *   longest?: (settings: any) => number, reset?: boolean,
 *   settle?: (settings: any, named: Set<string>) => any,
 * }} options
 */
export function frame(
  { model, el, page }, { title, controls, update, python, table, longest, reset = true, settle = (s) => s },
) {
  const names = Object.keys(controls);
  const start = Object.fromEntries(names.map((name) => [name, clamp(controls[name], model.get(name))]));
  const complete = Object.fromEntries(names.map((name) => [name, { ...controls[name] }])); // as long as nothing is chosen

  /** The settings that `parameters`, as an address has them, ask for: what they leave out is as at the start. */
  function asked(parameters, refuse = (_name, _text) => {}) {
    const given = {};
    for (const [name, text] of parameters) {
      const value = complete[name] ? parse(complete[name], text) : undefined;
      if (value === undefined) refuse(name, text);
      else given[name] = value;
    }
    return settle({ ...start, ...given }, new Set(Object.keys(given)));
  }
  const notes = [];
  if (page?.parameters.length) {
    const wanted = asked(page.parameters, (name, text) => {
      notes.push(`"${name}=${text}" in the address is not understood and left out.`);
    });
    for (const name of names) model.set(name, wanted[name]);
  }

  const settings = () => Object.fromEntries(names.map((name) => [name, clamp(controls[name], model.get(name))]));
  let pending = null;
  let request = 0;
  let drawn = false;
  const changedNow = (name) => {
    (pending ??= new Set()).add(name);
    request ||= requestAnimationFrame(run);
  };
  function run() {
    request = 0;
    const changed = pending ?? new Set();
    pending = null;
    if (el.isConnected || changed.size === names.length) {
      try {
        update(settings(), changed);
        drawn = true;
      } catch (error) {
        // Before anything was drawn, the page may put its still picture back.
        const failed = new CustomEvent("widget-failed", { detail: error, cancelable: true });
        if (drawn || el.dispatchEvent(failed)) throw error;
        return;
      }
    }
    if (longest) keepRoom(message, longest(settings()));
    if (python && !code.hidden) listing.textContent = python(settings());
    page?.moved?.(settings());
  }
  function set(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }

  const inputs = {};
  const panel = make("div", { class: "ins-controls" });
  const folds = {};
  const fold = (group) => {
    const inside = make("div", { class: "ins-controls" });
    panel.append(make("details", { class: "ins-fold" }, make("summary", {}, group), inside));
    return inside;
  };
  const unlisten = [];
  for (const name of names) {
    const now = clamp(controls[name], model.get(name));
    inputs[name] = input(controls[name], now, (value) => set({ [name]: value }));
    inputs[name].show(now);
    const { group, hidden } = controls[name];
    const place = group ? (folds[group] ??= fold(group)) : panel;
    if (!hidden) place.append(inputs[name].element);
    const heard = () => {
      inputs[name].show(clamp(controls[name], model.get(name)));
      changedNow(name);
    };
    model.on(`change:${name}`, heard);
    unlisten.push(() => model.off(`change:${name}`, heard));
  }

  const view = make("div", { class: "ins-view" });
  const message = make("p", { class: "ins-message", role: "status" });
  const note = make("p", { class: "ins-note", hidden: notes.length === 0 }, notes.join(" "));
  const listing = make("code");
  const code = make("pre", { class: "ins-code", tabindex: 0, hidden: true, "aria-label": "Python" }, listing);
  const address = make("input", {
    class: "ins-address", type: "text", readonly: true, hidden: true, "aria-label": "Link to this configuration",
    onfocus: () => address.select(),
  });
  const done = (button, text) => {
    const before = button.dataset.text ?? button.textContent;
    button.dataset.text = before;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 1600);
  };
  const buttons = make("div", { class: "ins-buttons" });
  if (page) {
    const copy = make("button", { type: "button", onclick: async () => {
      address.value = page.link(settings());
      try {
        await navigator.clipboard.writeText(address.value);
        done(copy, "Link copied");
      } catch {
        address.hidden = false; // the browser does not let us: here it is, selected
        address.focus();
      }
    } }, "Copy link to this configuration");
    buttons.append(copy);
  }
  if (python) {
    const toggle = make("button", { type: "button", "aria-expanded": "false", onclick: () => {
      code.hidden = !code.hidden;
      code.tabIndex = 0; // the theme takes it away from what is hidden when the page loads
      toggle.setAttribute("aria-expanded", String(!code.hidden));
      listing.textContent = python(settings());
    } }, "Show me the Python");
    buttons.append(toggle);
  }
  if (table) {
    buttons.append(make("button", { type: "button", onclick: () => {
      const { columns, rows } = table();
      const url = URL.createObjectURL(new Blob([csv(columns, rows)], { type: "text/csv" }));
      make("a", { href: url, download: `${title.toLowerCase().replace(/\W+/g, "-")}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } }, "Download CSV"));
  }
  if (reset) buttons.append(make("button", { type: "button", onclick: () => set(start) }, "Reset"));

  // What words of the page ask of the widget, in the terms of an address.
  page?.connect?.({
    go: (parameters) => set(asked(parameters)),
    standsAt(parameters) {
      const [goal, now] = [asked(parameters), settle(settings(), new Set())];
      const near = (a, b) => a === b || Math.abs(a - b) <= 1e-3 * Math.max(Math.abs(a), Math.abs(b));
      return names.every((name) => near(goal[name], now[name]));
    },
    told: (parameters) => parameters.map(([name, text]) => {
      const value = complete[name] && parse(complete[name], text);
      return value === undefined ? undefined : told(complete[name], value);
    }),
  });

  el.replaceChildren(make(
    // A group, not a landmark of the page: of those every one must have a name of its own.
    "div", { class: "ins-widget", role: "group", "aria-label": title },
    make("p", { class: "ins-title" }, title), note, panel, view, message, buttons, address, code,
  ));
  for (const name of names) changedNow(name);
  // In the page, drawn before it is shown for the first time: a frame later all would move.
  if (el.isConnected) {
    queueMicrotask(() => {
      cancelAnimationFrame(request);
      run();
    });
  }

  return {
    panel,
    view,
    message,
    buttons,
    settings,
    set,
    enable: (name, yes) => inputs[name].enable(yes),
    note: (name, text) => inputs[name].note(text),
    offer(name, changes) {
      Object.assign(controls[name], changes);
      inputs[name].offer();
      const now = clamp(controls[name], model.get(name));
      inputs[name].show(now);
      if (now !== model.get(name)) set({ [name]: now });
    },
    say(sentence) {
      if (message.textContent === sentence) return;
      message.textContent = sentence;
      model.set("message", sentence);
      model.save_changes();
    },
    refresh: () => changedNow("refresh"),
    destroy() {
      cancelAnimationFrame(request);
      for (const off of unlisten) off();
    },
  };
}

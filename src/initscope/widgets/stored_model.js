/**
 * What a widget may ask of its model, over values that no kernel keeps: for pages that are read.
 *
 * No module but a plain script: browsers load modules from files of their own for no page that is
 * opened as a file.
 * @param {Record<string, any>} values by trait; bytes as DataView, as in a live notebook
 */
function storedModel(values) {
  /** @type {Map<string, Set<() => void>>} */
  const listeners = new Map();
  const call = (name) => [...(listeners.get(name) ?? [])].forEach((listener) => listener());
  return {
    get: (name) => values[name],
    set(name, value) {
      if (Object.is(values[name], value)) return;
      values[name] = value;
      call(`change:${name}`);
      call("change");
    },
    on: (name, listener) => listeners.set(name, (listeners.get(name) ?? new Set()).add(listener)),
    off(name, listener) {
      if (listener) listeners.get(name)?.delete(listener);
      else if (name) listeners.delete(name);
      else listeners.clear();
    },
    save_changes() {},
  };
}

/**
 * What a widget asks of its model, over values by trait that no kernel keeps. No module: browsers
 * load none from a file.
 * @param {Record<string, any>} values
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

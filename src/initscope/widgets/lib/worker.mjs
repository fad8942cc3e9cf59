// Work beside the page.

/**
 * A worker that runs `text`, a module; where there can be none, what `here(answer)` returns takes the
 * messages instead. Returns {ask(message), stop()}; `answer` gets what comes back until it is stopped.
 */
export function startWorker(text, answer, here) {
  let stopped = false;
  const heard = (data) => { if (!stopped) answer(data); };
  /** @type {any[]} */
  const asked = []; // for what takes over, until it is known that the worker runs
  let worker = null;
  let receive = null;
  let started = false;
  try {
    // A page that is opened from a folder may start scripts from a blob, but no modules.
    const script = text.replace(/^export default /m, "");
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    worker = new Worker(url);
    worker.onmessage = ({ data }) => {
      if (!started) { // once: to take back an address asks the browser, and waits for its answer
        URL.revokeObjectURL(url);
        started = true;
        asked.length = 0;
      }
      heard(data);
    };
    worker.onerror = (event) => {
      if (stopped || started) return; // what goes wrong in its work is told as an error of the page
      event.preventDefault();
      worker.terminate();
      receive = here(heard); // the page forbids workers
      asked.forEach(receive);
    };
  } catch {
    receive = here(heard);
  }
  return {
    ask(message) {
      if (receive) receive(message);
      else {
        if (!started) asked.push(message);
        worker.postMessage(message);
      }
    },
    stop() {
      stopped = true;
      worker?.terminate();
    },
  };
}

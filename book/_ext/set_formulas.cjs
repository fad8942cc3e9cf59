// Sets formulas: reads {"tex", "display"} from each line, and answers with a line for each.
//
// An answer is {"html", "glyphs"}, of which the latter are the shapes that no answer before it had,
// by their ids, or {"error"}. The first argument is the folder of MathJax.

const { createInterface } = require("node:readline");
const folder = process.argv[2];

const settings = {
  loader: {
    paths: { mathjax: folder },
    load: ["input/tex-full", "output/svg", "adaptors/liteDOM", "a11y/assistive-mml"],
  },
  // What is not understood stops the building of the book, rather than stand there in red.
  tex: {
    packages: { "[-]": ["noerrors", "noundefined", "autoload", "require"] },
    formatError(_, error) { throw error; },
  },
  svg: { fontCache: "global" }, // one shape for each letter, which formulas share
  startup: { typeset: false },
};

require(`${folder}/node-main.js`).init(settings).then((MathJax) => {
  const { adaptor, document: { outputJax } } = MathJax.startup;
  let known = 0;

  /** Take out of a formula what only MathJax itself reads, in a page, later. */
  function thin(node) {
    const kind = adaptor.kind(node);
    if (kind === "#text") return;
    for (const { name } of [...adaptor.allAttributes(node)]) {
      if (/^(data-|role$|focusable$|unselectable$|jax$|class$|xmlns:)/.test(name)) {
        adaptor.removeAttribute(node, name);
      }
    }
    const glyph = adaptor.getAttribute(node, "xlink:href");
    if (glyph) {
      adaptor.removeAttribute(node, "xlink:href");
      adaptor.setAttribute(node, "href", glyph);
    }
    for (const child of [...adaptor.childNodes(node)]) {
      thin(child);
      if (adaptor.kind(child) === "g" && !adaptor.allAttributes(child).length) {
        const inside = [...adaptor.childNodes(child)];
        for (const part of inside) adaptor.insert(part, child);
        adaptor.remove(child);
      }
    }
  }

  createInterface({ input: process.stdin }).on("line", (line) => {
    const { tex, display } = JSON.parse(line);
    let answer;
    try {
      const node = MathJax.tex2svg(tex, { display });
      thin(node);
      adaptor.removeAttribute(node, "style");
      const shapes = adaptor.childNodes(outputJax.fontCache.getCache()).slice(known);
      known += shapes.length;
      const glyphs = shapes.map((shape) => [adaptor.getAttribute(shape, "id"), adaptor.getAttribute(shape, "d")]);
      answer = { html: adaptor.outerHTML(node), glyphs: Object.fromEntries(glyphs) };
    } catch (error) {
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
});

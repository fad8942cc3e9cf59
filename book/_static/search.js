// Lets Sphinx's search take any query, on any page.
//
// Every page loads the search's index before this, and searches for its parameter q after it.
(() => {
  // The search looks words up in plain objects, in which it also finds what every object inherits: for
  // "constructor" a function, where it expects a list of pages, and it stops with an error. Here its
  // index inherits nothing.
  function bare(value) {
    if (typeof value !== "object" || value === null) return value;
    if (!Array.isArray(value)) Object.setPrototypeOf(value, null);
    Object.values(value).forEach(bare);
    return value;
  }
  const index = bare(Search._index);
  delete index.alltitles[""]; // titles of exercises: a query of spaces would find them
  // These two it asks whether they hold a word.
  for (const words of [index.terms, index.titleterms]) {
    Object.defineProperty(words, "hasOwnProperty", { value: (word) => Object.hasOwn(words, word) });
  }

  // Only the page of the search has a place for what is found.
  if (!document.getElementById("search-results")) Search.performSearch = () => {};

  // Summaries are read from the pages found: of a folder no page may be read.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // A summary is of the text, not of the buttons above it, in which each formula stands once.
  const { htmlToText } = Search;
  Search.htmlToText = (html, anchor) => {
    const [article = ""] = html.match(/<article.*<\/article>/s) ?? [];
    return htmlToText(
      `<div role="main">${article.replace(/<noscript>.*?<\/noscript>/gs, "")}</div>`, anchor,
    );
  };
})();

// What has to be known before the first text is shown, so that nothing moves later.
(() => {
  const { classList, dataset } = document.documentElement;
  // The theme says light or dark in a script that comes late, and frames and the room between lines
  // wait for that. Who has chosen one before gets it from the theme at once.
  if (dataset.theme !== "light" && dataset.theme !== "dark") {
    dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  // The font comes with the style sheet, but a browser reads it only as it sets the first text, and
  // may show that in another font for a moment. So nothing is shown until it is read: some
  // milliseconds.
  classList.add("font-awaited");
  document.fonts.load("1em Inter").finally(() => classList.remove("font-awaited"));
})();

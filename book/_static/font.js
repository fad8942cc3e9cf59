// The font comes with the style sheet, but a browser reads it only as it sets the first text, and may
// show that in another font for a moment. So nothing is shown until it is read: some milliseconds.
(() => {
  const { classList } = document.documentElement;
  classList.add("font-awaited");
  document.fonts.load("1em Inter").finally(() => classList.remove("font-awaited"));
})();

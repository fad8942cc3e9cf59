// Bytes that Python has deflated.

/** The bytes that zlib.compress made `view`, a DataView or typed array, of. */
export async function inflate(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  // @ts-ignore: known to browsers longer than to some versions of the type checker
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

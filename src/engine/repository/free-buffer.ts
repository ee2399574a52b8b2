/**
 * Gives a buffer's memory back at once instead of at some later collection. Ciphers return a new buffer for each frame: with gigabytes
 * passing through, waiting for the collector means hundreds of megabytes of garbage and fresh pages for every frame.
 *
 * The buffer is empty afterwards. Nobody else may hold a view of it.
 */
export function freeBuffer(buffer: Buffer): void {
  // A small buffer may share its memory with others.
  if (buffer.buffer instanceof ArrayBuffer && buffer.buffer.byteLength === buffer.byteLength) buffer.buffer.transfer(0);
}

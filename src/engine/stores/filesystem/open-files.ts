import { closeSync, openSync } from 'node:fs';

/** Enough that a restore, which reads from a few packs by turns, opens each once. */
const OPEN_FILES_MAX = 64;

/** Files open for reading, the longest unused one closed first. Objects never change, so an open file is never out of date. */
export class OpenFiles {
  readonly #fds = new Map<string, number>();

  get(path: string): number {
    const known = this.#fds.get(path);
    if (known !== undefined) {
      // Moves it to the young end of the map.
      this.#fds.delete(path);
      this.#fds.set(path, known);
      return known;
    }
    const fd = openSync(path, 'r');
    this.#fds.set(path, fd);
    if (this.#fds.size > OPEN_FILES_MAX) this.#closeOldest();
    return fd;
  }

  forget(path: string): void {
    const fd = this.#fds.get(path);
    if (fd === undefined) return;
    this.#fds.delete(path);
    closeSync(fd);
  }

  close(): void {
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
  }

  #closeOldest(): void {
    const oldest = this.#fds.keys().next();
    if (!oldest.done) this.forget(oldest.value);
  }
}

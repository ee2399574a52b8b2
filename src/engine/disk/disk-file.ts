/**
 * The bytes of one file of a disk, read through the page cache or, for disks that would fill it, past it (O_DIRECT).
 *
 * Direct reads want memory, offsets and lengths in whole blocks. Node aligns no buffers, but the memory of WebAssembly begins on a page, so
 * that one such window serves all direct reads of a thread; calls are synchronous, so nobody needs it twice at once.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** Suits every block device in the field. Larger ones refuse, and their files are then read through the cache. */
const blockBytes = 4096;
/** The most that one call of `readAround` returns. Larger reads bring nothing on the devices that were measured. */
export const windowBytes = 1024 * 1024;
const wasmPageBytes = 64 * 1024;
/** Both ends of a range may have to grow to whole blocks. */
const windowPages = windowBytes / wasmPageBytes + 1;

/** Node has it, its types have not. */
declare const WebAssembly: { readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer } };
let threadWindow: Buffer | undefined;

function directWindow(): Buffer {
  threadWindow ??= Buffer.from(new WebAssembly.Memory({ initial: windowPages, maximum: windowPages }).buffer);
  return threadWindow;
}

export class DiskFile {
  readonly path: string;
  readonly #fd: number;
  #directFd: number | undefined;

  /** Takes over a file that was opened for reading. */
  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** Whether reads go past the page cache. Then few large reads are better than many small ones. */
  get isDirect(): boolean {
    return this.#directFd !== undefined;
  }

  /** What the file takes on the disk. */
  get allocatedBytes(): number {
    return fstatSync(this.#fd).blocks * 512;
  }

  /** Reads past the page cache from now on, if the file system can. */
  goDirect(): void {
    const fd = reopenDirect(this.#fd);
    if (fd === undefined) return;
    this.#directFd = fd;
    try {
      readSync(fd, directWindow(), 0, blockBytes, 0);
    } catch {
      this.#goBuffered();
    }
  }

  /** Fills a part of `target`. Throws when the file ends before. */
  readSync(target: Uint8Array, targetOffset: number, lengthBytes: number, position: number): void {
    if (!this.isDirect) {
      this.#fill(target, targetOffset, lengthBytes, position);
      return;
    }
    for (let done = 0; done < lengthBytes; ) {
      const part = this.readAround(position + done, Math.min(lengthBytes - done, windowBytes));
      target.set(part, targetOffset + done);
      done += part.length;
    }
  }

  /** At most `windowBytes` from `position`. The result is good until the next read in this thread. */
  readAround(position: number, lengthBytes: number): Uint8Array {
    const window = directWindow();
    const start = Math.floor(position / blockBytes) * blockBytes;
    const skipped = position - start;
    const wanted = skipped + lengthBytes;
    this.#fill(window, 0, wanted, start, Math.ceil(wanted / blockBytes) * blockBytes);
    return window.subarray(skipped, wanted);
  }

  close(): void {
    this.#goBuffered();
    closeSync(this.#fd);
  }

  /** Asks for up to `askedBytes`, and is content with `lengthBytes`: the last block of a file is seldom whole. */
  #fill(target: Uint8Array, targetOffset: number, lengthBytes: number, position: number, askedBytes = lengthBytes): void {
    for (let done = 0; done < lengthBytes; ) {
      const read = this.#readOnce(target, targetOffset + done, askedBytes - done, position + done);
      // The path is for the log: the message may reach people whom it does not concern.
      if (read === 0) throw new Error(`a file of the disk ended at ${position + done}, inside its data`, { cause: this.path });
      done += read;
    }
  }

  #readOnce(target: Uint8Array, targetOffset: number, lengthBytes: number, position: number): number {
    if (this.#directFd !== undefined) {
      try {
        return readSync(this.#directFd, target, targetOffset, lengthBytes, position);
      } catch (error) {
        // Some file systems take the flag and refuse the reads; and what a short read left to be read may not be aligned.
        if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
        this.#goBuffered();
      }
    }
    return readSync(this.#fd, target, targetOffset, lengthBytes, position);
  }

  #goBuffered(): void {
    if (this.#directFd !== undefined) closeSync(this.#directFd);
    this.#directFd = undefined;
  }
}

/** The same file once more, also when its name is gone by now or means another. Undefined when that is not possible. */
function reopenDirect(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY | constants.O_DIRECT);
  } catch {
    return undefined;
  }
}

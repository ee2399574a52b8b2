/** Answers the kernel's requests from a `DiskState`, and writes the log of what was done to it. */

import { apply, type DiskState, emptyState, type FileState, fileOf, isFolder, type Operation, pageBytes, rootNode } from './disk-state.ts';
import {
  type Attributes,
  encodeAttributesReply,
  encodeEntries,
  encodeEntry,
  encodeInit,
  encodeOffset,
  encodeOpened,
  encodeSpace,
  encodeWritten,
  errno,
  type FolderEntry,
  namesIn,
  opcodes,
  type Request,
  wide,
} from './fuse-protocol.ts';

/** A refusal that the kernel hands on to the program. */
class Refusal extends Error {
  readonly errno: number;

  constructor(number: number) {
    super(`error ${number}`);
    this.errno = number;
  }
}

const freeBlocks = 16 * 2 ** 18;
const setattrBits = { mode: 1, userId: 2, groupId: 4, size: 8 };
const fallocateBits = { keepSize: 1, punchHole: 2, zeroRange: 16 };
const seekData = 3;
const seekHole = 4;
const foldersMode = 0o040000;

/** Requests that get no answer. */
const silent = new Set<number>([opcodes.forget, opcodes.batchForget, opcodes.interrupt]);

export class DiskServer {
  readonly log: Operation[] = [];
  #state: DiskState;
  #lastNode: number;
  /** A disk without power: whatever is asked fails. */
  #isOff = false;

  constructor(state: DiskState = emptyState()) {
    this.#state = state;
    this.#lastNode = Math.max(...state.keys());
  }

  switchOff(): void {
    this.#isOff = true;
  }

  mark(text: string): void {
    this.log.push({ kind: 'mark', node: 0, text });
  }

  /** The body of the reply; undefined: none is expected. A number is an error. */
  answer(request: Request): Buffer | number | undefined {
    if (silent.has(request.opcode)) return undefined;
    if (request.opcode === opcodes.init) return encodeInit();
    if (this.#isOff) return errno.io;
    try {
      return this.#handle(request);
    } catch (error) {
      if (error instanceof Refusal) return error.errno;
      throw error;
    }
  }

  #handle(request: Request): Buffer | number {
    const { opcode, node, body } = request;
    switch (opcode) {
      case opcodes.lookup:
        return this.#entry(this.#child(node, namesIn(body)[0] ?? ''));
      case opcodes.getattr:
        return encodeAttributesReply(this.#attributes(this.#file(node)));
      case opcodes.setattr:
        return this.#setAttributes(node, body);
      case opcodes.mknod:
        return this.#entry(this.#make(request, body.readUInt32LE(0), namesIn(body.subarray(16))[0] ?? ''));
      case opcodes.mkdir:
        return this.#entry(this.#make(request, foldersMode | body.readUInt32LE(0), namesIn(body.subarray(8))[0] ?? ''));
      case opcodes.create: {
        const made = this.#make(request, body.readUInt32LE(4), namesIn(body.subarray(16))[0] ?? '');
        return Buffer.concat([this.#entry(made), encodeOpened()]);
      }
      case opcodes.unlink:
      case opcodes.rmdir:
        return this.#remove(node, namesIn(body)[0] ?? '', opcode === opcodes.rmdir);
      case opcodes.rename:
        return this.#rename(node, wide(body, 0), 0, namesIn(body.subarray(8)));
      case opcodes.rename2:
        return this.#rename(node, wide(body, 0), body.readUInt32LE(8), namesIn(body.subarray(16)));
      case opcodes.link:
        return this.#link(node, wide(body, 0), namesIn(body.subarray(8))[0] ?? '');
      case opcodes.open:
      case opcodes.opendir:
        return encodeOpened();
      case opcodes.read:
        return this.#read(this.#file(node), wide(body, 8), body.readUInt32LE(16));
      case opcodes.write: {
        const bytes = Buffer.from(body.subarray(40, 40 + body.readUInt32LE(16)));
        this.#do({ kind: 'write', node, offset: wide(body, 8), bytes });
        return encodeWritten(bytes.length);
      }
      case opcodes.fallocate:
        return this.#allocate(node, wide(body, 8), wide(body, 16), body.readUInt32LE(24));
      case opcodes.lseek:
        return this.#seek(this.#file(node), wide(body, 8), body.readUInt32LE(16));
      case opcodes.readdir:
        return encodeEntries(this.#entries(this.#file(node)), wide(body, 8), body.readUInt32LE(16));
      case opcodes.fsync:
      case opcodes.fsyncdir:
        this.#do({ kind: 'sync', node });
        return Buffer.alloc(0);
      case opcodes.syncfs:
        for (const each of this.#state.keys()) this.#do({ kind: 'sync', node: each });
        return Buffer.alloc(0);
      case opcodes.statfs:
        return encodeSpace({ total: 2 * freeBlocks, free: freeBlocks });
      case opcodes.flush:
      case opcodes.release:
      case opcodes.releasedir:
      case opcodes.destroy:
        return Buffer.alloc(0);
      default:
        return errno.noSystemCall;
    }
  }

  #do(operation: Operation): void {
    apply(this.#state, operation);
    this.log.push(operation);
  }

  #file(node: number): FileState {
    const file = this.#state.get(node);
    if (file === undefined) throw new Refusal(errno.noEntry);
    return file;
  }

  #child(folder: number, name: string): FileState {
    const node = this.#file(folder).names.get(name);
    if (node === undefined) throw new Refusal(errno.noEntry);
    return fileOf(this.#state, node);
  }

  #entry(file: FileState): Buffer {
    return encodeEntry(this.#attributes(file));
  }

  #attributes(file: FileState): Attributes {
    const { node, mode, userId, groupId, sizeBytes, pages } = file;
    const allocatedBytes = pages.size * pageBytes;
    return { node, mode, userId, groupId, sizeBytes, allocatedBytes, linkCount: 1, changedAtMs: Date.now() };
  }

  #make({ node: folder, userId, groupId }: Request, mode: number, name: string): FileState {
    if (this.#file(folder).names.has(name)) throw new Refusal(errno.exists);
    this.#lastNode += 1;
    const node = this.#lastNode;
    this.#do({ kind: 'make', node, mode, userId, groupId });
    this.#do({ kind: 'names', node: folder, set: [[name, node]] });
    return this.#file(node);
  }

  #remove(folder: number, name: string, isRmdir: boolean): Buffer {
    const file = this.#child(folder, name);
    if (isRmdir && file.names.size > 0) throw new Refusal(errno.notEmpty);
    if (!isRmdir && isFolder(file)) throw new Refusal(errno.isFolder);
    this.#do({ kind: 'names', node: folder, set: [[name, undefined]] });
    return Buffer.alloc(0);
  }

  #rename(from: number, to: number, flags: number, [oldName = '', newName = '']: readonly string[]): Buffer {
    if (flags > 1) throw new Refusal(errno.invalid);
    const { node } = this.#child(from, oldName);
    const target = this.#file(to).names.get(newName);
    if (flags === 1 && target !== undefined) throw new Refusal(errno.exists);
    if (from === to) {
      // Within one folder it is one change: both names or none.
      const set = [[newName, node] as const, ...(oldName === newName ? [] : [[oldName, undefined] as const])];
      this.#do({ kind: 'names', node: from, set });
    } else {
      this.#do({ kind: 'names', node: to, set: [[newName, node]] });
      this.#do({ kind: 'names', node: from, set: [[oldName, undefined]] });
    }
    return Buffer.alloc(0);
  }

  #link(folder: number, node: number, name: string): Buffer {
    if (this.#file(folder).names.has(name)) throw new Refusal(errno.exists);
    this.#do({ kind: 'names', node: folder, set: [[name, node]] });
    return this.#entry(this.#file(node));
  }

  #setAttributes(node: number, body: Buffer): Buffer {
    const file = this.#file(node);
    const valid = body.readUInt32LE(0);
    if ((valid & setattrBits.size) !== 0) this.#do({ kind: 'resize', node, sizeBytes: wide(body, 16) });
    if ((valid & (setattrBits.mode | setattrBits.userId | setattrBits.groupId)) !== 0) {
      const mode = (valid & setattrBits.mode) === 0 ? file.mode : body.readUInt32LE(68);
      const userId = (valid & setattrBits.userId) === 0 ? file.userId : body.readUInt32LE(76);
      const groupId = (valid & setattrBits.groupId) === 0 ? file.groupId : body.readUInt32LE(80);
      this.#do({ kind: 'change', node, mode, userId, groupId });
    }
    return encodeAttributesReply(this.#attributes(file));
  }

  #read(file: FileState, offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, file.sizeBytes - offset)));
    for (let at = 0; at < bytes.length; ) {
      const page = Math.floor((offset + at) / pageBytes);
      const from = offset + at - page * pageBytes;
      const count = Math.min(bytes.length - at, pageBytes - from);
      file.pages.get(page)?.copy(bytes, at, from, from + count);
      at += count;
    }
    return bytes;
  }

  #allocate(node: number, offset: number, length: number, mode: number): Buffer {
    const file = this.#file(node);
    const keepSize = (mode & fallocateBits.keepSize) !== 0;
    if ((mode & ~(fallocateBits.keepSize | fallocateBits.punchHole | fallocateBits.zeroRange)) !== 0) throw new Refusal(errno.notSupported);
    if ((mode & (fallocateBits.punchHole | fallocateBits.zeroRange)) !== 0) this.#do({ kind: 'zero', node, offset, length, keepSize });
    else if (!keepSize && offset + length > file.sizeBytes) this.#do({ kind: 'resize', node, sizeBytes: offset + length });
    return Buffer.alloc(0);
  }

  #seek(file: FileState, offset: number, whence: number): Buffer {
    if (offset >= file.sizeBytes) throw new Refusal(errno.noDevice);
    if (whence !== seekData && whence !== seekHole) throw new Refusal(errno.invalid);
    const pages = [...file.pages.keys()].sort((a, b) => a - b);
    const first = Math.floor(offset / pageBytes);
    if (whence === seekData) {
      const page = pages.find((each) => each >= first);
      if (page === undefined) throw new Refusal(errno.noDevice);
      return encodeOffset(Math.max(offset, page * pageBytes));
    }
    let hole = first;
    for (const page of pages) if (page === hole) hole += 1;
    return encodeOffset(Math.min(file.sizeBytes, Math.max(offset, hole * pageBytes)));
  }

  #entries(folder: FileState): FolderEntry[] {
    const own = [
      { name: '.', node: folder.node, isFolder: true },
      { name: '..', node: rootNode, isFolder: true },
    ];
    return [...own, ...[...folder.names].map(([name, node]) => ({ name, node, isFolder: isFolder(fileOf(this.#state, node)) }))];
  }
}

/**
 * What a file system holds, as a log of operations that can be cut anywhere.
 *
 * Everything that programs see is the whole log applied. After a power cut there is what was made durable (a `sync` of the file for its bytes and
 * size, one of the folder for its names), and of the rest whatever the disk had got to: of each page the first few of its waiting writes, of each
 * folder the first few of its waiting changes, chosen by a seed. So a program that relies on an order it did not ask for is found out.
 */

export const pageBytes = 4096;
export const rootNode = 1;

export type Operation =
  | { readonly kind: 'write'; readonly node: number; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'zero'; readonly node: number; readonly offset: number; readonly length: number; readonly keepSize: boolean }
  | { readonly kind: 'resize'; readonly node: number; readonly sizeBytes: number }
  | { readonly kind: 'make'; readonly node: number; readonly mode: number; readonly userId: number; readonly groupId: number }
  | { readonly kind: 'change'; readonly node: number; readonly mode: number; readonly userId: number; readonly groupId: number }
  | { readonly kind: 'names'; readonly node: number; readonly set: readonly (readonly [name: string, node: number | undefined])[] }
  | { readonly kind: 'sync'; readonly node: number }
  /** Not of the file system: what a test notes between its operations. */
  | { readonly kind: 'mark'; readonly node: 0; readonly text: string };

export interface FileState {
  readonly node: number;
  mode: number;
  userId: number;
  groupId: number;
  sizeBytes: number;
  /** Missing pages are holes. */
  readonly pages: Map<number, Buffer>;
  /** Of a folder. */
  readonly names: Map<string, number>;
}

export type DiskState = Map<number, FileState>;

const folderBits = 0o040000;
const typeMask = 0o170000;

export const isFolder = ({ mode }: { readonly mode: number }): boolean => (mode & typeMask) === folderBits;

export function emptyState(): DiskState {
  const state: DiskState = new Map();
  apply(state, { kind: 'make', node: rootNode, mode: folderBits | 0o755, userId: 0, groupId: 0 });
  return state;
}

export function fileOf(state: DiskState, node: number): FileState {
  const file = state.get(node);
  if (file === undefined) throw new Error(`there is no node ${node}`);
  return file;
}

export function apply(state: DiskState, operation: Operation): void {
  if (operation.kind === 'make') {
    const { node, mode, userId, groupId } = operation;
    state.set(node, { node, mode, userId, groupId, sizeBytes: 0, pages: new Map(), names: new Map() });
    return;
  }
  if (operation.kind === 'sync' || operation.kind === 'mark') return;
  const file = fileOf(state, operation.node);
  switch (operation.kind) {
    case 'write':
      for (const part of partsOf(operation.offset, operation.bytes.length)) writePage(file, part, operation.bytes);
      file.sizeBytes = Math.max(file.sizeBytes, operation.offset + operation.bytes.length);
      return;
    case 'zero':
      for (const part of partsOf(operation.offset, operation.length)) zeroPage(file, part);
      if (!operation.keepSize) file.sizeBytes = Math.max(file.sizeBytes, operation.offset + operation.length);
      return;
    case 'resize':
      cutPages(file, operation.sizeBytes);
      file.sizeBytes = operation.sizeBytes;
      return;
    case 'change':
      Object.assign(file, { mode: operation.mode, userId: operation.userId, groupId: operation.groupId });
      return;
    case 'names':
      for (const [name, node] of operation.set) {
        if (node === undefined) file.names.delete(name);
        else file.names.set(name, node);
      }
  }
}

interface Part {
  readonly page: number;
  readonly from: number;
  readonly to: number;
  /** Where the part begins in the bytes of the whole operation. */
  readonly source: number;
}

function* partsOf(offset: number, length: number): Generator<Part, void, undefined> {
  for (let at = offset; at < offset + length; ) {
    const page = Math.floor(at / pageBytes);
    const end = Math.min(offset + length, (page + 1) * pageBytes);
    yield { page, from: at - page * pageBytes, to: end - page * pageBytes, source: at - offset };
    at = end;
  }
}

function writePage(file: FileState, { page, from, to, source }: Part, bytes: Buffer): void {
  // States share pages, so that a copy of a state costs nothing: a page is never changed, only replaced.
  const content = Buffer.from(file.pages.get(page) ?? Buffer.alloc(pageBytes));
  bytes.copy(content, from, source, source + to - from);
  file.pages.set(page, content);
}

function zeroPage(file: FileState, { page, from, to }: Part): void {
  const old = file.pages.get(page);
  if (old === undefined) return;
  if (from === 0 && to === pageBytes) file.pages.delete(page);
  else file.pages.set(page, Buffer.from(old).fill(0, from, to));
}

function cutPages(file: FileState, sizeBytes: number): void {
  if (sizeBytes >= file.sizeBytes) return;
  for (const page of [...file.pages.keys()]) {
    const start = page * pageBytes;
    if (start >= sizeBytes) file.pages.delete(page);
    else if (start + pageBytes > sizeBytes) zeroPage(file, { page, from: sizeBytes - start, to: pageBytes, source: 0 });
  }
}

/** What is there after a power cut behind the first `count` operations. `random` gives numbers in [0, 1). */
export function afterPowerCut(base: DiskState, log: readonly Operation[], count: number, random: () => number): DiskState {
  const waiting = new Map<number, Operation[]>();
  const state = copyOf(base);
  for (const operation of log.slice(0, count)) {
    if (operation.kind === 'make') apply(state, operation);
    else if (operation.kind === 'sync') {
      for (const earlier of waiting.get(operation.node) ?? []) apply(state, earlier);
      waiting.delete(operation.node);
    } else if (operation.kind !== 'mark') {
      listIn(waiting, operation.node).push(operation);
    }
  }
  for (const [node, operations] of waiting) applySome(fileOf(state, node), operations, random);
  forgetUnreachable(state);
  return state;
}

/** Of a folder and of the attributes the first few changes; of each page the first few writes to it. */
function applySome(file: FileState, operations: readonly Operation[], random: () => number): void {
  const single: DiskState = new Map([[file.node, file]]);
  const ordered = operations.filter(({ kind }) => kind === 'names' || kind === 'change');
  for (const operation of ordered.slice(0, someOf(ordered.length, random))) apply(single, operation);

  const sizes: number[] = [file.sizeBytes];
  const byPage = new Map<number, (() => void)[]>();
  for (const operation of operations) {
    const sizeBytes = sizes.at(-1) ?? 0;
    if (operation.kind === 'write') {
      for (const part of partsOf(operation.offset, operation.bytes.length)) {
        listIn(byPage, part.page).push(() => writePage(file, part, operation.bytes));
      }
      sizes.push(Math.max(sizeBytes, operation.offset + operation.bytes.length));
    } else if (operation.kind === 'zero') {
      for (const part of partsOf(operation.offset, operation.length)) listIn(byPage, part.page).push(() => zeroPage(file, part));
      if (!operation.keepSize) sizes.push(Math.max(sizeBytes, operation.offset + operation.length));
    } else if (operation.kind === 'resize') {
      sizes.push(operation.sizeBytes);
    }
  }
  for (const acts of byPage.values()) for (const act of acts.slice(0, someOf(acts.length, random))) act();
  const sizeBytes = sizes[someOf(sizes.length - 1, random)] as number;
  // What lies behind the size that got through is not there.
  file.sizeBytes = Number.MAX_SAFE_INTEGER;
  cutPages(file, sizeBytes);
  file.sizeBytes = sizeBytes;
}

function listIn<Value>(lists: Map<number, Value[]>, key: number): Value[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}

/** A whole number from 0 to `count`; all and nothing are as likely as anything between. */
function someOf(count: number, random: () => number): number {
  const fate = random();
  if (fate < 1 / 3) return 0;
  if (fate < 2 / 3) return count;
  return Math.floor(random() * (count + 1));
}

export function copyOf(state: DiskState): DiskState {
  return new Map([...state].map(([node, file]) => [node, { ...file, pages: new Map(file.pages), names: new Map(file.names) }]));
}

/** Files without a name are gone when nobody has them open any more; after a power cut nobody has. */
export function forgetUnreachable(state: DiskState): void {
  const reached = new Set<number>();
  const visit = (node: number): void => {
    if (reached.has(node)) return;
    reached.add(node);
    for (const child of state.get(node)?.names.values() ?? []) visit(child);
  };
  visit(rootNode);
  for (const node of [...state.keys()]) if (!reached.has(node)) state.delete(node);
}

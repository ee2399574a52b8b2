/**
 * What lies below the root, file by file: layers, what is noted beside them, and what does not belong there.
 *
 * The calls are synchronous, because ten thousand small files take a fifth of the time that way, with a turn for others every few milliseconds.
 * Of each layer only the header is read.
 */
import { closeSync, constants, type Dirent, lstatSync, openSync, readdirSync, readSync, type Stats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../../../lib/errors.ts';
import { parseQcow2Header, type Qcow2Header, qcow2HeaderBytesWanted } from '../../disk/qcow2-header.ts';
import type { LayerInventory, LayerName, StoredLayer, StrayObject } from '../inventory-contract.ts';
import type { LayerFile, LayerPaths } from './layer-paths.ts';
import type { OpenMarks } from './open-marks.ts';

export interface InventoryDeps {
  readonly root: string;
  readonly paths: LayerPaths;
  readonly marks: OpenMarks;
}

/** Below the root, beside the homes. A name that no home can have. */
export const trashFolderName = '.trash';
/** Beside a layer that somebody took out of the trash to keep it. */
export const keptNoteOf = (path: string): string => `${path}.kept`;

const noteSuffixes = ['.extents', '.open', '.kept'] as const;
const fileName = /^([0-9A-Za-z][0-9A-Za-z_-]{0,63})\.(raw|qcow2)(\.extents|\.open|\.kept)?(\.new)?$/;
const homeName = /^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/;
/** What file systems themselves put into their root. */
const ignoredNames = new Set([trashFolderName, 'lost+found']);
const turnMs = 4;
/** A header, with the name that QEMU puts behind its table of features. */
const firstBytes = 4096;

/** Everything that may lie beside a layer, without the layer itself: notes, and those that a process died while writing. */
export const notesOf = (path: string): string[] => noteSuffixes.flatMap((suffix) => [`${path}${suffix}`, `${path}${suffix}.new`]);

/** The parts of a name in a home: of a layer, a note about one, or one of the two unfinished. Undefined: it is foreign. */
export function parseFileName(home: string, name: string): { layer: LayerName; isNote: boolean; isUnfinished: boolean } | undefined {
  const [, id, format, note, unfinished] = fileName.exec(name) ?? [];
  if (id === undefined) return undefined;
  return {
    layer: { id, home, format: format === 'raw' ? 'raw' : 'qcow2' },
    isNote: note !== undefined,
    isUnfinished: unfinished !== undefined,
  };
}

export function createLayerInventory(deps: InventoryDeps): Pick<LayerInventory, 'listStored' | 'findStored' | 'placeOf'> {
  const { root, paths } = deps;
  return {
    async *listStored() {
      let turnStartedAt = performance.now();
      for (const entry of entriesOf(root)) {
        if (ignoredNames.has(entry.name)) continue;
        if (!entry.isDirectory() || !homeName.test(entry.name)) {
          const stray = strayAt(root, entry.name, 'foreign', undefined);
          if (stray !== undefined) yield stray;
          continue;
        }
        const names = new Set(entriesOf(join(root, entry.name)).map(({ name }) => name));
        for (const name of names) {
          const found = await lookAt(deps, entry.name, name, names);
          if (found !== undefined) yield found;
          if (performance.now() - turnStartedAt < turnMs) continue;
          await nextTurn();
          turnStartedAt = performance.now();
        }
      }
    },
    async findStored(name) {
      const file = paths.fileOf(name);
      const beside = new Set(notesOf(file.path).flatMap((path) => (statsOf(path) === undefined ? [] : [basename(path)])));
      return await storedLayer(deps, name, beside);
    },
    placeOf: (name) => paths.fileOf(name).path,
  };
}

type Found = ({ readonly type: 'layer' } & StoredLayer) | ({ readonly type: 'stray' } & StrayObject);

async function lookAt(deps: InventoryDeps, home: string, name: string, names: ReadonlySet<string>): Promise<Found | undefined> {
  const place = join(home, name);
  const parsed = parseFileName(home, name);
  if (parsed === undefined) return strayAt(deps.root, place, 'foreign', undefined);
  const { layer, isNote, isUnfinished } = parsed;
  if (isUnfinished) return strayAt(deps.root, place, 'unfinished', layer);
  if (!isNote) {
    const stored = await storedLayer(deps, layer, names);
    return stored === undefined ? undefined : { type: 'layer', ...stored };
  }
  return names.has(`${layer.id}.${layer.format}`) ? undefined : strayAt(deps.root, place, 'note', layer);
}

function strayAt(
  root: string,
  name: string,
  kind: StrayObject['kind'],
  layer: LayerName | undefined,
): ({ type: 'stray' } & StrayObject) | undefined {
  const stats = statsOf(join(root, name));
  if (stats === undefined) return undefined;
  return { type: 'stray', name, place: join(root, name), kind, layer, allocatedBytes: stats.blocks * 512, modifiedAt: stats.mtime };
}

/** `beside`: names in the same folder, as far as they are notes. */
async function storedLayer(deps: InventoryDeps, name: LayerName, beside: ReadonlySet<string>): Promise<StoredLayer | undefined> {
  const file = deps.paths.fileOf(name);
  const stats = statsOf(file.path);
  if (stats === undefined) return undefined;
  const has = (path: string): boolean => beside.has(basename(path));
  return {
    id: name.id,
    home: name.home,
    format: name.format,
    allocatedBytes: stats.blocks * 512,
    isShared: stats.nlink > 1,
    modifiedAt: stats.mtime,
    ...contentOf(deps.paths, file, stats),
    openMark: has(deps.paths.markOf(file)) ? await openMarkOf(deps.marks, file) : 'none',
    isKept: has(keptNoteOf(file.path)),
  };
}

/** A mark without an owner is that of a merge, which may be running, or was given up: whoever uses the layer next looks after it. */
async function openMarkOf(marks: OpenMarks, file: LayerFile): Promise<StoredLayer['openMark']> {
  const owner = await marks.ownerOf(file);
  if (owner === undefined || owner === '') return 'none';
  return (await marks.liveOwner(file)) === undefined ? 'left' : 'live';
}

function contentOf(paths: LayerPaths, file: LayerFile, stats: Stats): Pick<StoredLayer, 'content' | 'damage'> {
  const broken = (damage: string) => ({ content: undefined, damage });
  if (stats.isSymbolicLink()) return broken('it is a symbolic link, and confined tools cannot follow it');
  if (!stats.isFile()) return broken('it is no regular file');
  if (file.format === 'raw') return { content: { sizeBytes: stats.size, below: null }, damage: undefined };
  try {
    const header = readHeaderOf(file, stats.size);
    const damage = header.isMarkedCorrupt ? 'QEMU found it damaged and has marked it so' : undefined;
    return { content: { sizeBytes: header.sizeBytes, below: belowOf(paths, file, header) }, damage };
  } catch (error) {
    return broken(messageOf(error));
  }
}

function readHeaderOf(file: LayerFile, size: number): Qcow2Header {
  const descriptor = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const read = (byteCount: number): Qcow2Header => {
      const bytes = Buffer.allocUnsafe(Math.min(size, byteCount));
      return parseQcow2Header(bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, 0)), size);
    };
    const header = read(firstBytes);
    const isWhole = header.backingFile === undefined || header.backingFile.name !== undefined;
    return isWhole ? header : read(qcow2HeaderBytesWanted);
  } finally {
    closeSync(descriptor);
  }
}

function belowOf(paths: LayerPaths, file: LayerFile, { backingFile }: Qcow2Header): LayerName | null {
  if (backingFile === undefined) return null;
  const { path, format } = paths.resolveBackingName(file, backingFile.name ?? '');
  return { id: basename(path, `.${format}`), home: basename(dirname(path)), format };
}

function statsOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** None when the folder is not there, or is none. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

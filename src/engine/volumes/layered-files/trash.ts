/**
 * The trash: layers that nobody knows lie here for a while before they go for good, on the same file system, so that a move is a rename.
 *
 *     <root>/.trash/<home>.<id>.<format>/        (with ~2, ~3 … when there is an earlier one)
 *         note.json                               what it was, why it is here and since when
 *         <id>.<format>, <id>.<format>.extents …  the files under their own names
 *
 * Order of a move: the note is durable first; then what is noted about the layer moves, and last the layer itself. So as long as a crash leaves the layer
 * in its old place, it is found there again and the move is repeated; once it is in the trash, all of it is. The way back goes the same way
 * round: notes first, the layer last, then the folder goes. A deletion removes the note last, so that a half-deleted item still says what it was.
 */
import { createHash } from 'node:crypto';
import { link, lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { crashPoint } from '../../../lib/crash-points.ts';
import { replaceBytesDurably, syncFolder } from '../../../lib/durable-files.ts';
import { VolumeBackendError } from '../errors.ts';
import type { LayerInventory, LayerName, TrashedItem, TrashNote } from '../inventory-contract.ts';
import { keptNoteOf, notesOf, parseFileName, trashFolderName } from './layer-inventory.ts';
import type { LayerPaths } from './layer-paths.ts';
import type { OpenMarks } from './open-marks.ts';

export interface TrashDeps {
  readonly root: string;
  readonly paths: LayerPaths;
  readonly marks: OpenMarks;
}

type Trash = Pick<LayerInventory, 'trashLayer' | 'trashStray' | 'listTrash' | 'restoreFromTrash' | 'deleteFromTrash'>;

/** What `note.json` holds. */
interface Note {
  readonly layer: LayerName | null;
  /** The home, and the name of the file that was moved last. */
  readonly home: string;
  readonly file: string;
  readonly reason: string;
  readonly trashedAt: string;
}

const noteName = 'note.json';
const itemName = /^[0-9A-Za-z][0-9A-Za-z_.-]*(?:~\d+)?$/;
const noLinkCodes = new Set(['EPERM', 'EMLINK', 'EOPNOTSUPP', 'ENOTSUP']);

export function createTrash({ root, paths, marks }: TrashDeps): Trash {
  const folder = join(root, trashFolderName);

  /** The first folder of this name that the file has not been moved to before. */
  async function freeFolder(name: string, file: string): Promise<string> {
    for (let count = 1; ; count += 1) {
      const path = join(folder, count === 1 ? name : `${name}~${count}`);
      if (!(await exists(join(path, file)))) return path;
    }
  }

  async function moveAway(item: { name: string; path: string; layer: LayerName | null }, { reason, at }: TrashNote): Promise<boolean> {
    if (!(await exists(item.path))) return false;
    const home = dirname(item.path);
    const file = basename(item.path);
    const target = await freeFolder(item.name, file);
    await makeFolder(folder);
    await makeFolder(target);
    const note: Note = { layer: item.layer, home: basename(home), file, reason, trashedAt: at.toISOString() };
    await replaceBytesDurably(join(target, noteName), Buffer.from(JSON.stringify(note)));
    crashPoint('trash:noted');
    if (item.layer !== null) for (const path of notesOf(item.path)) await moveIfThere(path, join(target, basename(path)));
    crashPoint('trash:notes-moved');
    await rename(item.path, join(target, file));
    crashPoint('trash:moved');
    await syncFolder(target);
    // The home stays, also when it is empty: somebody may be about to put a layer into it.
    await syncFolder(home);
    return true;
  }

  async function readItem(name: string): Promise<TrashedItem> {
    const path = join(folder, name);
    const note = await readNote(path);
    const files = (await namesIn(path)).filter((file) => file !== noteName);
    const sizes = await Promise.all(files.map((file) => freedBytes(join(path, file))));
    return {
      name,
      layer: note?.layer ?? undefined,
      trashedAt: note === undefined ? ((await lstat(path).catch(unless('ENOENT')))?.mtime ?? new Date(0)) : new Date(note.trashedAt),
      reason: note?.reason ?? 'a move into the trash was interrupted',
      allocatedBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    };
  }

  return {
    async trashLayer(layer, note) {
      const file = paths.fileOf(layer);
      const owner = await marks.liveOwner(file);
      if (owner !== undefined) throw new VolumeBackendError('busy', `${file.path} is open in process ${owner.processId ?? '(unknown)'}`);
      return await moveAway({ name: `${layer.home}.${layer.id}.${layer.format}`, path: file.path, layer: plain(layer) }, note);
    },
    async trashStray(name, note) {
      const parsed = parseFileName(dirname(name), basename(name));
      if (parsed === undefined || !(parsed.isNote || parsed.isUnfinished) || name !== join(parsed.layer.home, basename(name))) {
        throw new VolumeBackendError('mismatch', `${JSON.stringify(name)} is nothing that this backend left behind`);
      }
      const path = join(dirname(paths.fileOf(parsed.layer).path), basename(name));
      const digest = createHash('sha256').update(name).digest('hex').slice(0, 12);
      return await moveAway({ name: `stray.${digest}`, path, layer: null }, note);
    },
    listTrash: async () => await Promise.all((await namesIn(folder)).filter((name) => itemName.test(name)).map(readItem)),
    async restoreFromTrash(name, { keep }) {
      const from = join(folder, checked(name));
      const note = await readNote(from);
      if (note === undefined) throw new VolumeBackendError('missing-layer', `the trash has nothing called ${name}`);
      await putBack(join(root, note.home), from, note, keep);
    },
    async deleteFromTrash(name) {
      const path = join(folder, checked(name));
      for (const file of await namesIn(path)) if (file !== noteName) await rm(join(path, file), { force: true, recursive: true });
      crashPoint('trash:emptied');
      await rm(path, { force: true, recursive: true });
    },
  };
}

async function putBack(home: string, from: string, note: Note, keep: boolean): Promise<void> {
  const [source, target] = [join(from, note.file), join(home, note.file)];
  const [lying, standing] = [await lstat(source).catch(unless('ENOENT')), await lstat(target).catch(unless('ENOENT'))];
  if (lying === undefined) throw new VolumeBackendError('missing-layer', `${source} is gone`);
  // An interrupted attempt may have given the file both names.
  const isBack = lying.ino === standing?.ino && lying.dev === standing.dev;
  if (standing !== undefined && !isBack) throw new VolumeBackendError('mismatch', `${target} is in the way`);
  await makeFolder(home);
  if (keep && note.layer !== null)
    await replaceBytesDurably(keptNoteOf(target), Buffer.from(JSON.stringify({ trashedAt: note.trashedAt })));
  for (const file of await namesIn(from)) {
    if (file !== noteName && file !== note.file && !(keep && join(home, file) === keptNoteOf(target)))
      await moveIfThere(join(from, file), join(home, file));
  }
  crashPoint('trash:notes-restored');
  if (!isBack) await moveWithoutReplacing(source, target);
  crashPoint('trash:restored');
  await syncFolder(home);
  // Without a note nothing can be put back a second time, over what the layer has become by then.
  await rm(join(from, noteName), { force: true });
  await rm(from, { recursive: true, force: true });
  await syncFolder(dirname(from));
}

/** A rename would take the place of a file that appears at this moment; a link fails instead. */
async function moveWithoutReplacing(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new VolumeBackendError('mismatch', `${to} is in the way`, { cause: error });
    if (!noLinkCodes.has(code ?? '')) throw error;
    await rename(from, to);
  }
}

async function readNote(path: string): Promise<Note | undefined> {
  try {
    return JSON.parse(await readFile(join(path, noteName), 'utf8')) as Note;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A file that has another name elsewhere frees nothing. */
async function freedBytes(path: string): Promise<number> {
  const stats = await lstat(path).catch(unless('ENOENT'));
  return stats === undefined || stats.nlink > 1 ? 0 : stats.blocks * 512;
}

async function makeFolder(path: string): Promise<void> {
  if ((await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(dirname(path));
}

const moveIfThere = async (from: string, to: string): Promise<void> => void (await rename(from, to).catch(unless('ENOENT')));
const namesIn = async (path: string): Promise<string[]> => (await readdir(path).catch(unless('ENOENT', 'ENOTDIR'))) ?? [];
const exists = async (path: string): Promise<boolean> => (await lstat(path).catch(unless('ENOENT'))) !== undefined;
const plain = ({ id, home, format }: LayerName): LayerName => ({ id, home, format });

/** Names of items become paths. */
function checked(name: string): string {
  if (!itemName.test(name) || name.includes('..'))
    throw new VolumeBackendError('missing-layer', `the trash has nothing called ${JSON.stringify(name)}`);
  return name;
}

function unless(...codes: readonly string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error;
    return undefined;
  };
}

/**
 * Counts what is reserved on each file system. `contract.ts` says what each call promises.
 *
 * Reserving asks the file system and adds to the sum, one after the other on each file system: two requests that fit alone and not together
 * never both pass. Files are measured before the file system is asked, so that what is written in between is counted twice for a moment,
 * and never not at all.
 */
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createTurns } from '../../lib/turns.ts';
import { type Reservation, type SpaceAccount, SpaceError, type SpaceFigures, type SpaceRequest } from './contract.ts';

export interface SpaceAccountOptions {
  /** Kept back on every file system. */
  readonly keptBytes: number;
  /** What a file system says about itself: for tests. */
  readonly ask?: (folder: string) => Promise<FileSystemFigures>;
}

export interface FileSystemFigures {
  readonly capacityBytes: number;
  readonly freeBytes: number;
}

interface Entry {
  readonly path: string;
  readonly device: number;
  bytes: number;
}

/** Of what is kept back, so much is not even for work that gives back more than it takes: it is for the database and for deletions. */
const keptAlwaysBytesMax = 64 * 2 ** 20;
const mib = 2 ** 20;

export function createSpaceAccount({ keptBytes, ask = askFileSystem }: SpaceAccountOptions): SpaceAccount {
  const entries = new Set<Entry>();
  const inTurn = createTurns<number>();

  async function outstandingOn(device: number, except?: Entry): Promise<number> {
    const others = [...entries].filter((entry) => entry.device === device && entry !== except);
    const rest = await Promise.all(others.map(async ({ path, bytes }) => Math.max(0, bytes - (await allocatedAt(path)))));
    return rest.reduce((sum, bytes) => sum + bytes, 0);
  }

  async function look(place: Place, except?: Entry): Promise<SpaceFigures> {
    const reservedBytes = await outstandingOn(place.device, except);
    const { capacityBytes, freeBytes } = await ask(place.folder);
    return { capacityBytes, freeBytes, reservedBytes, keptBytes, availableBytes: Math.max(0, freeBytes - reservedBytes - keptBytes) };
  }

  function mustFit({ bytes, purpose, mayUseKept }: Omit<SpaceRequest, 'path'>, figures: SpaceFigures): void {
    const kept = mayUseKept === true ? Math.min(keptBytes, keptAlwaysBytesMax) : keptBytes;
    const available = figures.freeBytes - figures.reservedBytes - kept;
    if (bytes > 0 && bytes > available) throw new SpaceError(refusal(bytes, available, kept, purpose));
  }

  return {
    figures: async (path) => look(await placeOf(path)),
    async reserve(request) {
      const place = await placeOf(request.path);
      const entry: Entry = { path: request.path, device: place.device, bytes: 0 };
      await inTurn(place.device, async () => {
        const written = await allocatedAt(entry.path);
        mustFit({ ...request, bytes: Math.max(0, request.bytes - written) }, await look(place));
        entry.bytes = request.bytes;
        entries.add(entry);
      });
      return {
        extend: (bytes) =>
          inTurn(place.device, async () => {
            const written = await allocatedAt(entry.path);
            mustFit({ ...request, bytes }, await look(place, entry));
            entry.bytes = written + bytes;
          }),
        release: () => void entries.delete(entry),
      } satisfies Reservation;
    },
  };
}

function refusal(bytes: number, available: number, kept: number, purpose: string | undefined): string {
  const needed = `Not enough space${purpose === undefined ? '' : ` for ${purpose}`}: ${Math.ceil(bytes / mib)} MiB are needed`;
  const free = Math.max(0, Math.floor(available / mib));
  return kept === 0
    ? `${needed}, ${free} MiB are free.`
    : `${needed}, ${free} MiB are free beside the ${Math.ceil(kept / mib)} MiB kept back.`;
}

interface Place {
  /** The nearest one that exists. */
  readonly folder: string;
  readonly device: number;
}

async function placeOf(path: string): Promise<Place> {
  for (let at = path; ; at = dirname(at)) {
    const stats = await stat(at).catch(unlessMissing);
    if (stats?.isDirectory() === true) return { folder: at, device: stats.dev };
    if (at === dirname(at)) throw new Error(`${path} lies nowhere`);
  }
}

async function allocatedAt(path: string): Promise<number> {
  const stats = await stat(path).catch(unlessMissing);
  return stats === undefined ? 0 : stats.blocks * 512;
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
  return undefined;
}

async function askFileSystem(folder: string): Promise<FileSystemFigures> {
  const { blocks, bavail, bsize } = await statfs(folder);
  // Some file systems of programs (FUSE) say nothing about their size: then nothing is known to be short.
  if (blocks === 0) return { capacityBytes: Number.MAX_SAFE_INTEGER, freeBytes: Number.MAX_SAFE_INTEGER };
  return { capacityBytes: blocks * bsize, freeBytes: bavail * bsize };
}

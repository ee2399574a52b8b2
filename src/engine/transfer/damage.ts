import { DAMAGED_RANGES_MAX, type DiskRange, isDamage, RepositoryError } from '../repository/errors.ts';
import type { Damage } from './worker-protocol.ts';

/** An error of reading as damage of a range of the disk. Rethrows what is no damage. */
export function damageOf(error: unknown, offsetBytes: number, lengthBytes: number, sizeBytes: number): Damage {
  if (!isDamage(error)) throw error;
  const { kind, message, objectName } = error;
  const place = { offsetBytes, lengthBytes: Math.min(lengthBytes, sizeBytes - offsetBytes) };
  return { kind, message, ...place, ...(objectName === undefined ? {} : { objectName }) };
}

/** All damage of a restore as one error, with neighbouring ranges joined. */
export function damageError(damages: readonly Damage[]): RepositoryError {
  const ranges: DiskRange[] = [];
  for (const { offsetBytes, lengthBytes } of damages.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    const last = ranges.at(-1);
    const lastEnd = last === undefined ? -1 : last.offsetBytes + last.lengthBytes;
    if (last !== undefined && offsetBytes <= lastEnd) {
      const end = Math.max(lastEnd, offsetBytes + lengthBytes);
      ranges[ranges.length - 1] = { offsetBytes: last.offsetBytes, lengthBytes: end - last.offsetBytes };
    } else {
      ranges.push({ offsetBytes, lengthBytes });
    }
  }
  const first = damages[0] as Damage;
  const shown = ranges.slice(0, 5).map(({ offsetBytes, lengthBytes }) => `${offsetBytes}-${offsetBytes + lengthBytes - 1}`);
  const more = ranges.length > shown.length ? ` and ${ranges.length - shown.length} more ranges` : '';
  const objectName = first.objectName === undefined ? {} : { objectName: first.objectName };
  return new RepositoryError(first.kind, `bytes ${shown.join(', ')}${more} of the disk cannot be restored: ${first.message}`, {
    ranges: ranges.slice(0, DAMAGED_RANGES_MAX),
    ...objectName,
  });
}

/** The packs in which the damage lies, each once. */
export function damagedPacks(damages: readonly Damage[]): string[] {
  const objects = new Set(damages.flatMap(({ objectName }) => (objectName?.startsWith('p/') === true ? [objectName] : [])));
  return [...objects].map((objectName) => objectName.slice(objectName.lastIndexOf('/') + 1));
}

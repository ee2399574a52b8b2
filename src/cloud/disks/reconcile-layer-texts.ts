/** What people are told about layers. It must say what is wrong, what it means, and what to do, to somebody who has never seen this part of the house. */
import type { LayerInventory, LayerName } from '../../engine/volumes/inventory-contract.ts';
import type { Database } from '../database/service.ts';
import type { LayerFacts, LayerProblem, Surroundings } from './reconcile-layer-rules.ts';
import type { Affected, FindingText } from './reconcile-report.ts';
import { affectedBy, backupsOf, loadServedVolumes, volumeNamed } from './reconcile-rows.ts';

export interface TextDeps {
  readonly database: Database;
  readonly inventory: LayerInventory;
  readonly trashDays: number;
}

const mib = 2 ** 20;

export const sizeText = (bytes: number): string => (bytes < mib ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / mib).toFixed(1)} MiB`);
/** A path as a shell takes it. */
const quoted = (path: string): string => (/^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`);
export const labelOf = (type: string, { id, name }: { id: string; name: string | null }): string =>
  name === null || name === '' ? `${type} ${id}` : `${type} ${name} (${id})`;

export async function layerTexts(deps: TextDeps, problem: LayerProblem, surroundings: Surroundings): Promise<FindingText> {
  switch (problem.kind) {
    case 'layer-missing':
      return await missingText(deps, problem.row, problem.elsewhere);
    case 'layer-unknown':
      return await unknownText(deps, problem, surroundings);
    case 'layer-misplaced':
      return await misplacedText(deps, problem);
    case 'layer-damaged':
      return await damagedText(deps, problem.row, problem.damage);
    case 'parent-differs':
      return await parentText(deps, problem);
    case 'size-differs':
      return await sizeDiffersText(deps, problem);
    case 'space-leaked':
      return leakedText(deps, problem.row);
  }
}

export function layersMissing(deps: TextDeps, wanted: readonly LayerFacts[]): FindingText {
  const place = wanted[0] === undefined ? '' : deps.inventory.placeOf(wanted[0]);
  return {
    severity: 'error',
    detail: `Not one of the ${wanted.length} layers is there. The first would be ${place}.`,
    advice:
      'Is the file system with the volumes mounted, and is this the right state directory (STILLPOINT_STATE_DIR) for this database (DATABASE_URL)? ' +
      'Stop the service, put that right, and start it again. Nothing was changed: no volume was marked, nothing was moved.',
    commands: [],
    affected: [],
  };
}

/** Parts of an advice, each with what to type. */
interface Advice {
  readonly text: string;
  readonly commands?: readonly string[];
}

const joined = (parts: readonly Advice[]): Pick<FindingText, 'advice' | 'commands'> => ({
  advice: parts.map(({ text }) => text).join(' '),
  commands: parts.flatMap(({ commands }) => commands ?? []),
});

async function missingText(deps: TextDeps, row: LayerFacts, elsewhere: readonly LayerName[]): Promise<FindingText> {
  const { inventory, database } = deps;
  const affected = await affectedBy(database.sql, [row.id]);
  const parts: Advice[] = [];
  if ((await inventory.listTrash()).some((item) => isSame(item.layer, row))) {
    parts.push({ text: 'It lies in the trash, and a repair takes it back.', commands: ['stillpoint doctor --disks --repair'] });
  }
  for (const name of elsewhere) {
    parts.push({ text: 'A file of its name lies elsewhere: if it was moved there, move it back.', commands: [moveBack(deps, name, row)] });
  }
  parts.push(...(await servedAdvice(deps, affected)));
  if (affected.some(({ type, id }) => type === 'image' && id === row.home)) {
    parts.push({
      text: `If the image was uploaded as raw, images/${row.home}/data in the state directory holds the same bytes: link it to the missing name.`,
    });
  }
  if (affected.length > 0) parts.push({ text: 'If somebody moved the file, put it back.' }, await rescueAdvice(deps, affected));
  else parts.push({ text: 'Nothing needs it: housekeeping will forget it.' });
  const unreadable = affected.length > 0 ? ' What stands on it cannot be read.' : '';
  return {
    severity: affected.length > 0 ? 'error' : 'warning',
    detail: `${inventory.placeOf(row)} is gone, the file of ${stateText(row)}.${unreadable}`,
    ...joined(parts),
    affected,
  };
}

const moveBack = ({ inventory }: TextDeps, from: LayerName, to: LayerName): string =>
  `mv ${quoted(inventory.placeOf(from))} ${quoted(inventory.placeOf(to))}`;

/** A running server has the bytes of a removed file until it ends. */
async function servedAdvice({ database, inventory }: TextDeps, affected: readonly Affected[]): Promise<Advice[]> {
  const alive = new Set((await inventory.listExports()).filter(({ isAlive }) => isAlive).map(({ name }) => name));
  const served = (await loadServedVolumes(database.sql)).filter(
    (volume) => affected.some(({ id }) => id === volume.volumeId) && alive.has(inventory.exportNameOf(volume.target.id)),
  );
  return served.map(({ volumeId, volumeName, target }) => ({
    text: `DO NOT disconnect ${labelOf('volume', { id: volumeId, name: volumeName })}, and do not stop its server: that still has the bytes open. Copy them first.`,
    commands: [`qemu-img convert -p -f raw -O qcow2 'nbd+unix:///disk?socket=${target.socketPath}' rescue.qcow2`],
  }));
}

async function rescueAdvice({ database }: TextDeps, affected: readonly Affected[]): Promise<Advice> {
  const volumes = affected.filter(({ type }) => type === 'volume');
  if (volumes.length === 0) return { text: 'If it is lost, so is what is affected: delete that, or restore an older backup.' };
  const ids = volumes.map(({ id }) => id);
  const rescues = await backupsOf(database.sql, ids);
  const lines = rescues.map(({ volumeId, takenAt }) => {
    const volume = volumes.find((one) => one.id === volumeId) ?? { id: volumeId, name: null };
    return `${labelOf('volume', volume)} has a backup of ${takenAt}.`;
  });
  const without = volumes.filter(({ id }) => !rescues.some(({ volumeId }) => volumeId === id));
  for (const volume of without) lines.push(`${labelOf('volume', volume)} has no backup here.`);
  return { text: `Otherwise restore: ${lines.join(' ')}`, commands: rescues.map(({ id }) => `stillpoint backup restore ${id}`) };
}

async function unknownText(deps: TextDeps, { file }: LayerProblem & { kind: 'layer-unknown' }, around: Surroundings): Promise<FindingText> {
  const volume = await volumeNamed(deps.database.sql, file.home);
  const where =
    volume === undefined ? 'in the folder of no known volume' : `in the folder of ${labelOf('volume', { id: file.home, ...volume })}`;
  const shared = file.isShared ? ' Its bytes have another name as well: they would not be lost.' : '';
  const missing = around.missing.get(file.home) ?? [];
  const changedAt = file.modifiedAt.toISOString().slice(0, 16).replace('T', ' ');
  return {
    severity: 'warning',
    detail: `${deps.inventory.placeOf(file)} is a layer that nobody knows, ${where}: ${sizeText(file.allocatedBytes)}, last changed ${changedAt}.${shared}`,
    ...(missing.length > 0
      ? {
          advice:
            'A layer of the same folder is missing, and this may be it: it stays where it is until that is settled. If it is, stop using the disk and move it.',
          commands: missing.map((row) => moveBack(deps, file, row)),
        }
      : {
          advice: `Nothing uses it. A repair moves it to the trash, which keeps it for ${deps.trashDays} days and gives it back when it is needed.`,
          commands: ['stillpoint doctor --disks --repair', `stillpoint doctor --disks --restore ${file.id}`],
        }),
    affected: [],
  };
}

async function misplacedText(deps: TextDeps, { row, file }: LayerProblem & { kind: 'layer-misplaced' }): Promise<FindingText> {
  const isCopy = (await deps.inventory.findStored(row)) !== undefined;
  return {
    severity: 'warning',
    detail: `${deps.inventory.placeOf(file)} bears the name of a layer that belongs elsewhere (${deps.inventory.placeOf(row)}).`,
    ...joined([
      isCopy
        ? {
            text: 'The right one is in its place, so this is a copy that nobody uses. It is left alone: remove it yourself when you do not need it.',
          }
        : { text: 'If it was moved, move it back, and check again.', commands: [moveBack(deps, file, row)] },
    ]),
    affected: await affectedBy(deps.database.sql, [row.id]),
  };
}

export async function damagedText(deps: TextDeps, row: LayerFacts, damage: string): Promise<FindingText> {
  const affected = await affectedBy(deps.database.sql, [row.id]);
  const place = deps.inventory.placeOf(row);
  return {
    severity: 'error',
    detail: `${place}, the file of ${stateText(row)}, is damaged: ${damage}.`,
    ...joined([
      { text: 'Copy the file before you try anything with it.', commands: [`cp --sparse=always ${quoted(place)} .`] },
      await rescueAdvice(deps, affected),
    ]),
    affected,
  };
}

async function parentText(deps: TextDeps, { row, file, expected }: LayerProblem & { kind: 'parent-differs' }): Promise<FindingText> {
  const below = file.content?.below ?? null;
  const place = (name: LayerName | null | undefined): string => (name == null ? 'nothing' : deps.inventory.placeOf(name));
  const own = quoted(place(row));
  const standing = expected === undefined ? "-b ''" : `-F ${expected.format} -b ../${expected.home}/${expected.id}.${expected.format}`;
  return {
    severity: 'error',
    detail: `${place(row)} says that it stands on ${place(below)}, while the rows say ${place(expected)}, and reading goes by the rows.`,
    advice:
      'If what is affected reads as it should, only the note in the file is wrong: disconnect the volume, copy the file, and put the note right. ' +
      'If it does not, the rows are wrong: restore the database or the volume from a backup.',
    commands: [`cp --sparse=always ${own} .`, `qemu-img rebase -u ${standing} ${own}`],
    affected: await affectedBy(deps.database.sql, [row.id]),
  };
}

async function sizeDiffersText(deps: TextDeps, { row, sizeBytes }: LayerProblem & { kind: 'size-differs' }): Promise<FindingText> {
  const affected = await affectedBy(deps.database.sql, [row.id]);
  const detail = `${deps.inventory.placeOf(row)} is a disk of ${sizeBytes} bytes; its row says ${row.sizeBytes}.`;
  if (sizeBytes < row.sizeBytes) {
    const lost = { text: 'What was behind the end is lost, unless the file was changed by hand and can be put back.' };
    return { severity: 'error', detail: `${detail} Its end is cut off.`, ...joined([lost, await rescueAdvice(deps, affected)]), affected };
  }
  const gib = Math.ceil(sizeBytes / 2 ** 30);
  const advice =
    row.state === 'top'
      ? {
          text: `An extension was interrupted. Nothing is lost; extend the volume to ${gib} GiB, and both agree.`,
          commands: [`openstack volume set --size ${gib} ${row.home}`],
        }
      : { text: 'Nothing is lost: what is behind the end that the row tells of is not read.' };
  return { severity: 'warning', detail, ...joined([advice]), affected };
}

function leakedText(deps: TextDeps, row: LayerFacts): FindingText {
  return {
    severity: 'notice',
    detail: `${deps.inventory.placeOf(row)} was open for writing in a server that has ended without closing it. Its data is whole; it may take more space than it uses.`,
    advice: 'A repair gives the space back. Whoever opens the disk next does it, too.',
    commands: ['stillpoint doctor --disks --repair'],
    affected: [],
  };
}

function stateText(row: LayerFacts): string {
  return row.state === 'top' ? `the writable layer ${row.id} of volume ${row.home}` : `layer ${row.id}`;
}

export const isSame = (one: LayerName | undefined, other: LayerName): boolean =>
  one?.id === other.id && one.home === other.home && one.format === other.format;

/** What the proofs of the sagas of images have in common: an image to prepare or delete, and what must hold afterwards. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { prepareKind } from '../../src/cloud/images/prepare.job.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { callerOf, type ImagesUnderTest, startImages } from './images.ts';
import { proveSaga } from './saga-harness.ts';

export type Format = 'raw' | 'qcow2';
export const caller = callerOf('00112233445566778899aabbccddeeff');

const diskBytes = 1024 * 1024;
const disk = Buffer.concat([Buffer.alloc(diskBytes / 4, 'data'), Buffer.alloc(diskBytes / 2), Buffer.alloc(diskBytes / 4, 'more')]);

export async function fileOf(format: Format): Promise<Buffer> {
  if (format === 'raw') return disk;
  const folder = await mkdtemp(join(tmpdir(), 'stillpoint-scenario-'));
  try {
    await writeFile(join(folder, 'raw'), disk);
    await truncate(join(folder, 'raw'), disk.length);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', 'raw', 'qcow2'], { cwd: folder });
    return readFileSync(join(folder, 'qcow2'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export async function makeImage(under: ImagesUnderTest, format: Format, id?: string): Promise<string> {
  const order = { diskFormat: format, containerFormat: 'bare', properties: {} };
  return (await under.images.create(caller, id === undefined ? order : { ...order, id })).id;
}

export async function upload(under: ImagesUnderTest, id: string, data: Buffer): Promise<void> {
  async function* body(): AsyncGenerator<Buffer> {
    yield data;
  }
  await under.images.upload(caller, id, { stream: body(), expectedBytes: data.length });
}

/** Resolves when the import has begun. */
export async function stageAndImport(under: ImagesUnderTest, id: string, data: Buffer): Promise<void> {
  async function* body(): AsyncGenerator<Buffer> {
    yield data;
  }
  await under.images.stage(caller, id, { stream: body(), expectedBytes: data.length });
  await beginImport(under, id);
}

export async function beginImport(under: ImagesUnderTest, id: string): Promise<void> {
  await under.images.imports.begin(caller, id, { method: 'glance-direct', uri: undefined, request: { method: { name: 'glance-direct' } } });
}

/** The saga of that kind, as soon as there is one. */
export async function sagaOf(under: ImagesUnderTest, id: string, kind: string): Promise<string> {
  for (;;) {
    const saga = (await under.jobs.find(id)).find((candidate) => candidate.kind === kind);
    if (saga !== undefined) return saga.id;
    await pause(2);
  }
}

const filesOf = (under: ImagesUnderTest, id: string): string[] => {
  const folder = join(under.imagesDir, id);
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** The image is active: its bytes are those that were sent, and a volume would start from the right disk. */
export async function mustBeActive(under: ImagesUnderTest, id: string, data: Buffer): Promise<void> {
  const image = await under.images.show(caller, id);
  if (image.status !== 'active') throw new Error(`the image is ${image.status}`);
  const download = await under.images.download(caller, id);
  if (download === undefined) throw new Error('an active image without data');
  if (!(await buffer(await download.read({ start: 0, end: download.sizeBytes - 1 }))).equals(data))
    throw new Error('the data is different');
  const source = await under.db.database.transact((tx) => under.images.sources.sourceFor(tx, caller, id));
  const reader = openDisk(await under.disks.sourceOf(source.pointId));
  const found = Buffer.alloc(reader.sizeBytes);
  reader.readSync(found, 0);
  reader.close();
  if (!found.equals(disk)) throw new Error('the disk is different');
  const files = filesOf(under, id);
  if (files.join() !== 'data') throw new Error(`left beside the data: ${files}`);
}

/** Nothing of the image is left but, perhaps, its row in `queued`. */
export async function mustHaveNoData(under: ImagesUnderTest, id: string): Promise<void> {
  const files = filesOf(under, id);
  if (files.length > 0) throw new Error(`files are left: ${files}`);
  await under.disks.tidy();
  const { sql } = under.db.database;
  const layers = await sql.selectFrom('layers').select(['id', 'state']).where('home', '=', id).execute();
  if (layers.length > 0) throw new Error(`layers are left: ${JSON.stringify(layers)}`);
  const holds = await sql.selectFrom('point_holds').select('point_id').where('holder', '=', `image:${id}`).execute();
  if (holds.length > 0) throw new Error('the base is still held');
}

export async function mustBeQueued(under: ImagesUnderTest, id: string): Promise<void> {
  const image = await under.images.show(caller, id);
  if (image.status !== 'queued' || image.sizeBytes !== null || image.hashValue !== null || image.pointId !== null) {
    throw new Error(`the image is not as it was before the upload: ${JSON.stringify(image)}`);
  }
  await mustHaveNoData(under, id);
}

export async function mustBeGone(under: ImagesUnderTest, id: string): Promise<void> {
  const found = await under.images.show(caller, id).catch(() => undefined);
  if (found !== undefined) throw new Error('the image is still there');
  await mustHaveNoData(under, id);
}

/** Every run works on an image of its own in the state of `owner`. Returns the names of the runs. */
export async function provePreparing(format: Format, owner: ImagesUnderTest): Promise<string[]> {
  const data = await fileOf(format);
  return await proveSaga({
    kind: prepareKind,
    // Before there is a saga.
    ignorePoint: (name) => name.startsWith('image-intake:'),
    async make({ openJobs }) {
      const under = await startImages({ openJobs, existing: owner });
      const id = await makeImage(under, format);
      return {
        jobs: under.jobs,
        async order() {
          // Its answer is a matter of other tests.
          upload(under, id, data).catch(() => undefined);
          return { sagaId: await sagaOf(under, id, prepareKind) };
        },
        check: (status) => (status === 'done' ? mustBeActive(under, id, data) : mustBeQueued(under, id)),
        close: () => under.stop(),
      };
    },
  });
}

/** The process that works on an image is killed at every marked instant; the next one settles what it left. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { recordCrashPoints } from '../../src/lib/crash-points.ts';
import { newId } from '../../src/lib/ids.ts';
import {
  beginImport,
  caller,
  type Format,
  fileOf,
  makeImage,
  mustBeActive,
  mustBeGone,
  mustBeQueued,
  provePreparing,
  sagaOf,
  stageAndImport,
  upload,
} from '../support/image-scenario.ts';
import { type ImagesUnderTest, startImages } from '../support/images.ts';
import { proveKills } from '../support/kill-harness.ts';

const script = resolve(import.meta.dirname, '../support/image-process.ts');
let under: ImagesUnderTest;
beforeAll(async () => {
  under = await startImages();
});
afterAll(() => under.stop());

/** The instants that an undisturbed upload and deletion pass. */
async function pointsOf(format: Format): Promise<{ uploading: string[]; deleting: string[] }> {
  const uploading = recordCrashPoints();
  const id = await makeImage(under, format);
  await upload(under, id, await fileOf(format));
  const before = uploading.stop();
  const deleting = recordCrashPoints();
  await under.images.delete(caller, id);
  await under.jobs.settled(await sagaOf(under, id, 'image.delete'));
  return { uploading: before, deleting: deleting.stop().filter((point) => point.startsWith('image.delete:')) };
}

async function killAll(
  format: Format,
  work: 'upload' | 'delete' | 'import',
  points: readonly string[],
  check: (id: string, point: string) => Promise<void>,
) {
  let id = '';
  await proveKills({
    script,
    points,
    prepare: async () => {
      id = newId();
      return [under.folder, JSON.stringify(under.db.connection), id, format, work];
    },
    check: (point) => check(id, point),
  });
}

test.each<Format>(['raw', 'qcow2'])(
  'an upload of a %s image that is killed anywhere ends active, or queued while nobody promised anything',
  async (format) => {
    const { uploading } = await pointsOf(format);
    expect(uploading.length).toBeGreaterThan(10);
    const data = await fileOf(format);
    await killAll(format, 'upload', uploading, async (id, point) => {
      if (!point.startsWith('image-intake:')) {
        await mustBeActive(under, id, data);
        return;
      }
      await mustBeQueued(under, id);
      await upload(under, id, data);
      await mustBeActive(under, id, data);
    });
  },
);

test('an import that is killed anywhere is finished; bytes that were not staged yet are forgotten', async () => {
  const recording = recordCrashPoints();
  const data = await fileOf('qcow2');
  const made = await makeImage(under, 'qcow2');
  await stageAndImport(under, made, data);
  await under.jobs.settled(await sagaOf(under, made, 'image.import'));
  const points = recording.stop();
  expect(points.length).toBeGreaterThan(10);
  await killAll('qcow2', 'import', points, async (id, point) => {
    if (point.startsWith('image.import:') || !point.startsWith('image-intake:')) return await mustBeActive(under, id, data);
    if (point === 'image-intake:stage:recorded') await beginImport(under, id);
    else {
      await mustBeQueued(under, id);
      await stageAndImport(under, id, data);
    }
    await under.jobs.settled(await sagaOf(under, id, 'image.import'));
    await mustBeActive(under, id, data);
  });
});

test('a deletion that is killed anywhere is finished', async () => {
  const { deleting } = await pointsOf('raw');
  expect(deleting.length).toBeGreaterThan(5);
  await killAll('raw', 'delete', deleting, (id) => mustBeGone(under, id));
});

test('preparing a qcow2 image may be repeated, fail and be cancelled at any instant', async () => {
  expect((await provePreparing('qcow2', under)).length).toBeGreaterThan(10);
});

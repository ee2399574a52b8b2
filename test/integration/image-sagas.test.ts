import { afterAll, beforeAll, expect, test } from 'vitest';
import { deleteKind } from '../../src/cloud/images/delete.job.ts';
import { caller, fileOf, makeImage, mustBeGone, provePreparing, sagaOf, upload } from '../support/image-scenario.ts';
import { type ImagesUnderTest, startImages } from '../support/images.ts';
import { proveSaga, type SagaFixture } from '../support/saga-harness.ts';

const minuteMs = 60_000;
/** Owns the state that all runs share: each works on an image of its own. */
let owner: ImagesUnderTest;
beforeAll(async () => {
  owner = await startImages();
});
afterAll(() => owner.stop());

test(
  'preparing a raw image may be repeated, fail and be cancelled at any instant',
  async () => {
    expect((await provePreparing('raw', owner)).length).toBeGreaterThan(10);
  },
  minuteMs,
);

test(
  'the removal of a deleted image comes to its end whatever happens',
  async () => {
    const data = await fileOf('raw');
    await proveSaga({
      kind: deleteKind,
      async make({ openJobs }): Promise<SagaFixture> {
        const under = await startImages({ openJobs, existing: owner });
        const id = await makeImage(under, 'raw');
        await upload(under, id, data);
        return {
          jobs: under.jobs,
          async order() {
            await under.images.delete(caller, id);
            return { sagaId: await sagaOf(under, id, deleteKind) };
          },
          check: () => mustBeGone(under, id),
          close: () => under.stop(),
        };
      },
    });
  },
  minuteMs,
);

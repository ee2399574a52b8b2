/**
 * Every instant of every scene, where the machine is fast enough: a slow one stops in time, and says how far it came. The order is drawn anew in each run
 * (`STILLPOINT_TEST_SEED` repeats one), so that no instant is always the last. `STILLPOINT_KILL_MINUTES` gives more time, or less.
 */
import { seededRandom } from '../../src/lib/random.ts';

export interface InstantsInTime {
  /** Works at one instant after the other, in the share of the time that is this scene's. */
  workAt(points: readonly string[], work: (point: string) => Promise<void>): Promise<void>;
  /** How many instants there were, and at how many it worked. */
  summary(): string;
}

/** However slow the machine is. */
const leastPerScene = 3;

export function createInstantsInTime({ scenes, minutes }: { scenes: number; minutes: number }): InstantsInTime {
  const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  const random = seededRandom(seed);
  const endMs = performance.now() + Number(process.env.STILLPOINT_KILL_MINUTES ?? minutes) * 60_000;
  let [scenesLeft, seen, worked] = [scenes, 0, 0];
  return {
    async workAt(points, work) {
      const sceneEndMs = performance.now() + (endMs - performance.now()) / scenesLeft;
      const order = points.map((point) => ({ point, rank: random() })).sort((a, b) => a.rank - b.rank);
      scenesLeft -= 1;
      seen += points.length;
      for (const [count, { point }] of order.entries()) {
        if (count >= leastPerScene && performance.now() > sceneEndMs) break;
        await work(point);
        worked += 1;
      }
    },
    summary: () => `${worked} of ${seen} instants, STILLPOINT_TEST_SEED=${seed}`,
  };
}

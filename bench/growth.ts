/** Does an incremental cost the same on a volume of 1 TiB as on one of 4 GiB, when the same amount changed? */
import { mustRun } from '../test/support/clients.ts';
import { connect, disconnect, makeVolume } from '../test/support/scenario.ts';
import { median } from './measure.ts';
import { type Subject, untilAvailable } from './subject.ts';

const blockBytes = 65_536;
const blocksChanged = 256;
const rounds = 3;

export interface Growth {
  readonly sizeGib: number;
  readonly seconds: number;
}

export async function measureGrowth(subject: Subject): Promise<Growth[]> {
  const growth: Growth[] = [];
  for (const sizeGib of [4, 64, 1024]) growth.push({ sizeGib, seconds: await incremental(subject, sizeGib) });
  return growth;
}

async function incremental({ api }: Subject, sizeGib: number): Promise<number> {
  const volumeId = await makeVolume(api, { size: sizeGib });
  const backUp = async (isIncremental: boolean): Promise<number> => {
    const startedAt = performance.now();
    const { backup } = await api.volume('POST', '/backups', { backup: { volume_id: volumeId, incremental: isIncremental } });
    await untilAvailable(api, `/backups/${backup.id}`, 'backup');
    return (performance.now() - startedAt) / 1000;
  };
  await backUp(false);
  const times: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const uri = await connect(api, volumeId);
    const writes = Array.from({ length: blocksChanged }, (_, index) => {
      const offset = Math.floor((index / blocksChanged) * 2 ** 32);
      return ['-c', `write -q -P ${1 + ((index + round) % 250)} ${offset} ${blockBytes}`];
    });
    await mustRun('qemu-io', ['-f', 'raw', ...writes.flat(), '-c', 'flush', uri]);
    await disconnect(api, volumeId);
    times.push(await backUp(true));
  }
  return median(times);
}

/** Daemons that an older version started, without a gate above the top, go on serving until they are closed. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import type { DiskExport, LayerChain } from '../contract.ts';
import { expectBytes, mib, newLayer, notAborted, write, writeThrough } from '../contract-suite/test-disks.ts';
import { blockNode, nodeNamesOf } from './block-nodes.ts';
import { waitUntilServing } from './daemon-start.ts';
import { folderAt } from './export-folder.ts';
import { createLayerPaths } from './layer-paths.ts';

let under: LayeredFilesUnderTest;
beforeAll(async () => {
  under = await makeLayeredFiles();
});
afterAll(() => under.dispose());

async function startUngated(chain: LayerChain): Promise<DiskExport> {
  const id = randomUUID();
  const folder = folderAt(join(under.dir, 'run', 'older'));
  await mkdir(folder.path, { recursive: true });
  const [socketPath, monitorPath] = [join(folder.path, 'nbd'), join(folder.path, 'monitor')];
  const paths = createLayerPaths(join(under.dir, 'layers'));
  const args: string[] = [];
  let backing: string | null = null;
  for (const [i, layer] of chain.entries()) {
    const file = paths.fileOf(layer);
    const access = i === chain.length - 1 ? 'writable' : 'mergeable';
    args.push('--blockdev', JSON.stringify(blockNode(file, { access, backing, isNamed: true })));
    backing = nodeNamesOf(file).format;
  }
  args.push('--nbd-server', `addr.type=unix,addr.path=${socketPath}`);
  args.push('--export', JSON.stringify({ type: 'nbd', id: `export-${id}`, 'node-name': backing, name: 'disk', writable: true }));
  args.push(
    '--chardev',
    `socket,id=monitor,path=${monitorPath},server=on,wait=off`,
    '--monitor',
    'chardev=monitor',
    '--pidfile',
    folder.pidPath,
  );
  const home = (chain[0] as LayerChain[number]).home;
  const daemon = spawn('qemu-storage-daemon', args, { cwd: join(under.dir, 'layers', home), stdio: 'ignore' });
  onTestFinished(() => void daemon.kill('SIGKILL'));
  const target = { id, home, socketPath, monitorPath, processId: daemon.pid as number };
  await waitUntilServing(target, folder);
  return target;
}

it('they are snapshotted, merged and closed, but do not hold writes back', async () => {
  const { backend } = under;
  const home = randomUUID();
  const chain = [newLayer(home)];
  await backend.createLayer(chain[0] as LayerChain[number], []);
  const target = await startUngated(chain);
  for (const pattern of [1, 2]) {
    await writeThrough(target, [write(0, mib, pattern), write(pattern * mib, mib, pattern)]);
    const overlay = newLayer(home);
    await backend.createLayer(overlay, chain);
    await backend.snapshotExport(target, chain, overlay);
    await backend.snapshotExport(target, chain, overlay);
    chain.push(overlay);
  }
  await expect(backend.snapshotExport(target, chain.slice(0, 1), newLayer(home))).rejects.toMatchObject({ kind: 'mismatch' });
  await expect(backend.pauseWrites([target], 1_000)).rejects.toMatchObject({ kind: 'mismatch' });
  await backend.resumeWrites(target);
  const [older, younger] = chain as [LayerChain[number], LayerChain[number]];
  await backend.mergeExport(target, chain, older, younger, notAborted());
  const merged = chain.filter((layer) => layer !== younger);
  expect(await backend.inspectExport(target)).toEqual({ alive: true, layerIds: merged.map((layer) => layer.id) });
  await backend.closeExport(target);
  expect((await backend.inspectExport(target)).alive).toBe(false);
  const wanted = Buffer.concat([Buffer.alloc(mib, 2), Buffer.alloc(mib, 1), Buffer.alloc(mib, 2), Buffer.alloc(5 * mib)]);
  await expectBytes(backend, merged, wanted);
});

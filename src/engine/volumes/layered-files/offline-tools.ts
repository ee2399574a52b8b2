/**
 * What `qemu-img` does to layers that nobody has open: grow, fold together, stand a layer on another. Each call is confined to the
 * files it needs and opens chains by explicit trees.
 */
import { basename } from 'node:path';
import type { Confinement } from '../../confinement/run-confined.ts';
import { asFileName, blockNode, chainNode, workingDirOf } from './block-nodes.ts';
import type { LayerFile } from './layer-paths.ts';

export interface OfflineTools {
  /** Sets the virtual size of the top of a chain. Growing shows zeroes, also where a lower layer is larger. */
  resize(bottomFirst: readonly LayerFile[], sizeBytes: number): Promise<void>;
  /** Writes what the top holds into the layer below it. The top stays as it is. */
  commit(bottomFirst: readonly LayerFile[], options: { signal: AbortSignal; onFraction: (done: number) => void }): Promise<void>;
  /** Changes which layer a header names. No data is touched. */
  rebase(file: LayerFile, backing: { name: string; format: string }): Promise<void>;
}

const minuteMs = 60_000;
const commitTimeoutMs = 24 * 60 * minuteMs;

export function createOfflineTools(confinement: Confinement): OfflineTools {
  const pathsOf = (files: readonly LayerFile[]): string[] => files.map((file) => file.path);
  return {
    async resize(bottomFirst, sizeBytes) {
      await confinement.run({
        command: 'qemu-img',
        // Only a layer that is wholly hidden by the one above it is ever made smaller.
        args: ['resize', '-q', '--shrink', asFileName(chainNode(bottomFirst, 1)), String(sizeBytes)],
        readOnly: pathsOf(bottomFirst.slice(0, -1)),
        readWrite: pathsOf(bottomFirst.slice(-1)),
        workingDir: workingDirOf(bottomFirst.at(-1) as LayerFile),
        timeoutMs: 10 * minuteMs,
      });
    },
    async commit(bottomFirst, { signal, onFraction }) {
      await confinement.run({
        command: 'qemu-img',
        // -d: without it the top is emptied afterwards, under the eyes of whoever reads it.
        args: ['commit', '-p', '-d', asFileName(chainNode(bottomFirst, 2))],
        readOnly: pathsOf(bottomFirst.slice(0, -2)),
        readWrite: pathsOf(bottomFirst.slice(-2)),
        workingDir: workingDirOf(bottomFirst.at(-1) as LayerFile),
        timeoutMs: commitTimeoutMs,
        signal,
        onOutput: (chunk) => {
          const percent = [...chunk.toString('latin1').matchAll(/\((\d+\.\d+)\/100%\)/g)].at(-1)?.[1];
          if (percent !== undefined) onFraction(Number(percent) / 100);
        },
      });
    },
    async rebase(file, backing) {
      const node = blockNode(file, { access: 'writable', backing: null });
      await confinement.run({
        command: 'qemu-img',
        args: ['rebase', '-q', '-u', '-F', backing.format, '-b', backing.name, asFileName(node)],
        readWrite: [file.path],
        workingDir: workingDirOf(file),
      });
    },
  };
}

/** For messages. */
export const nameOf = (file: LayerFile): string => basename(file.path);

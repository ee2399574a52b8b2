/** A disk in memory as a block device. Every call, once it passed the gate, is done at once, so that a snapshot falls between two of them. */
import type { BlockDevice, DevicePiece } from '../../disk/block-device.ts';
import type { WriteGate } from './memory-gate.ts';
import { type BlockAccount, blocksOf, lookUp, type MemoryChain, type MemoryLayer, readChain, writeTop, zeroTop } from './memory-layer.ts';

/** What a disk goes through on its way to clients. */
export interface Access {
  readonly readOnly: boolean;
  /** Whatever changes the disk passes it. */
  readonly gate: WriteGate;
}

/** The most that one question about allocation looks at. */
const describedBytesMax = 256 * 2 ** 20;

/** `chain` is asked for at each call: it grows with snapshots. Its top, and with it the size, may be another, but never another disk. */
export function memoryDevice(chain: () => MemoryChain, account: BlockAccount, { readOnly, gate }: Access): BlockDevice {
  const { sizeBytes } = chain().at(-1) as MemoryLayer;
  return {
    sizeBytes,
    readOnly,
    async read(offsetBytes, target) {
      readChain(chain(), offsetBytes, target);
    },
    async write(offsetBytes, bytes) {
      await gate.pass();
      writeTop(chain(), offsetBytes, bytes, account);
    },
    async zero(offsetBytes, lengthBytes) {
      await gate.pass();
      zeroTop(chain(), offsetBytes, lengthBytes, account);
    },
    async trim(offsetBytes, lengthBytes) {
      await gate.pass();
      zeroTop(chain(), offsetBytes, lengthBytes, account);
    },
    async flush() {},
    async describe(offsetBytes, lengthBytes) {
      return describe(chain(), offsetBytes, offsetBytes + Math.min(lengthBytes, describedBytesMax));
    },
  };
}

function describe(chain: MemoryChain, start: number, end: number): DevicePiece[] {
  const pieces: { lengthBytes: number; hole: boolean; zero: boolean }[] = [];
  for (const { index, from, to } of blocksOf(start, end)) {
    const zero = lookUp(chain, index).block === undefined;
    const last = pieces.at(-1);
    if (last?.zero === zero) last.lengthBytes += to - from;
    else pieces.push({ lengthBytes: to - from, hole: zero, zero });
  }
  return pieces;
}

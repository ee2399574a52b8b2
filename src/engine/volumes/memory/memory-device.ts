/** A disk in memory as a block device. Every call is done at once, so that a snapshot falls between two of them. */
import type { BlockDevice, DevicePiece } from '../../disk/block-device.ts';
import { type BlockAccount, blocksOf, lookUp, type MemoryChain, type MemoryLayer, readChain, writeTop, zeroTop } from './memory-layer.ts';

/** The most that one question about allocation looks at. */
const describedBytesMax = 256 * 2 ** 20;

/** `chain` is asked for at each call: it grows with snapshots. Its top, and with it the size, may be another, but never another disk. */
export function memoryDevice(chain: () => MemoryChain, account: BlockAccount, options: { readonly readOnly: boolean }): BlockDevice {
  const { sizeBytes } = chain().at(-1) as MemoryLayer;
  return {
    sizeBytes,
    readOnly: options.readOnly,
    async read(offsetBytes, target) {
      readChain(chain(), offsetBytes, target);
    },
    async write(offsetBytes, bytes) {
      writeTop(chain(), offsetBytes, bytes, account);
    },
    async zero(offsetBytes, lengthBytes) {
      zeroTop(chain(), offsetBytes, lengthBytes, account);
    },
    async trim(offsetBytes, lengthBytes) {
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

/**
 * What a daemon needs so that writes to its disk can be held back (write-pause.ts): the *gate*, a filter of QEMU's kind `throttle` above the top, which
 * is what clients are served. Its group has no limits but during a pause, and costs nothing that can be measured then.
 *
 * The budget of a limit has to be used up before it holds anything back. For that there is the *meter*: a device of no content behind another filter of
 * the same group, and an export of its own. A discard on it is one small request that counts as much as its length says.
 * A client that uses it holds up itself.
 *
 * Overlays slide in between the gate and the former top, and merges happen below. A daemon that only reads has neither gate nor meter.
 */
import type { BlockNode } from './block-nodes.ts';

/** The node that clients are served. No name of a layer's node is like it. */
export const gateNode = 'gate';
/** NBD clients of ours find the meter under this name. */
export const meterExportName = 'meter';
/** The longest discard that the protocol has room for, in whole sectors. */
export const meterBytes = 2 ** 32 - 512;

const group = 'gate';
const meterNode = 'meter';

/** Where the monitor finds the limits. */
export const gatePath = `/objects/${group}`;

/** Options of a daemon that come before its nodes. */
export const gateObject = { 'qom-type': 'throttle-group', id: group } as const;

export const meterBlockNode: BlockNode = {
  driver: 'throttle',
  'node-name': meterNode,
  'throttle-group': group,
  discard: 'unmap',
  file: { driver: 'null-co', size: meterBytes, discard: 'unmap' },
};

/** Without `discard` it would keep what clients trim to itself. */
export const gateBlockNode = (topNode: string): BlockNode => ({
  driver: 'throttle',
  'node-name': gateNode,
  'throttle-group': group,
  discard: 'unmap',
  file: topNode,
});

export const meterExport = { type: 'nbd', id: meterNode, 'node-name': meterNode, name: meterExportName, writable: true } as const;

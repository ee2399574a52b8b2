/**
 * Entry of the data mover's process: niced, so that the service answers while gigabytes move, and gone as soon as the service is.
 */
import { availableParallelism, setPriority } from 'node:os';
import { createLocalMover } from '../engine/transfer/local-mover.ts';
import { serveMover } from '../engine/transfer/mover-host.ts';
import type { MoverMessage } from '../engine/transfer/mover-protocol.ts';

const NICENESS = 10;
/** More threads than this wait for memory and disks, not for cores. */
const WORKERS_MAX = 8;

try {
  // Before any thread is started: threads inherit it.
  setPriority(NICENESS);
} catch {
  // A machine that forbids it moves data at normal priority.
}

// Whoever pressed Ctrl-C means the service, which ends this process in its own time.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit(0));

const log = {
  debug: () => {},
  info: () => {},
  warn: (fields: object, message: string) => console.error(JSON.stringify({ level: 'warn', message, ...fields })),
  error: (fields: object, message: string) => console.error(JSON.stringify({ level: 'error', message, ...fields })),
};

const mover = createLocalMover({ workerCount: Math.min(WORKERS_MAX, availableParallelism()), now: () => new Date(), log });
mover.prepare();

serveMover(mover, {
  send: (answer) => {
    if (process.connected) process.send?.(answer);
  },
  onMessage: (listener) => process.on('message', (message) => listener(message as MoverMessage)),
});

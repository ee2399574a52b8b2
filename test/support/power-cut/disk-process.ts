/**
 * The process behind a disk whose power can be cut: a file system in user space, mounted at the folder that it is given. It is a process of its own, for
 * whoever serves a file system must never wait for it. Linux and root only.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { close, closeSync, ftruncateSync, linkSync, mkdirSync, open, openSync, read, writeSync as writeFile, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { seededRandom } from '../../../src/lib/random.ts';
import { DiskServer } from './disk-server.ts';
import { afterPowerCut, copyOf, type DiskState, emptyState, fileOf, isFolder, pageBytes, rootNode } from './disk-state.ts';
import { encodeReply, parseRequest, requestBytesMax } from './fuse-protocol.ts';
import type { Order, Reply } from './messages.ts';

const [folder = ''] = process.argv.slice(2);
const openFile = promisify(open);
const closeFile = promisify(close);
const readFile = promisify(read);

let base: DiskState = emptyState();
let server = new DiskServer(copyOf(base));
let serving = await mount();

/** Answers requests while the mount is being made, for the program that makes it asks already. The result ends with the mount. */
async function mount(): Promise<{ readonly ended: Promise<void> }> {
  const device = await openFile('/dev/fuse', 'r+');
  const options = 'fd=3,rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions';
  const mounting = run('mount', ['-i', '-t', 'fuse.powercut', '-o', options, 'powercut', folder], device);
  // The device knows no mount until the program got that far: reading from it fails until then.
  const ended = serve(device, server, mounting);
  await mounting;
  return { ended };
}

async function run(program: string, args: readonly string[], device?: number): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe', ...(device === undefined ? [] : [device])] });
  let words = '';
  child.stderr?.on('data', (part: Buffer) => {
    words += part.toString();
  });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${words}`);
}

/** Until the file system is unmounted. */
async function serve(device: number, disk: DiskServer, mounting: Promise<void>): Promise<void> {
  let isMounted = false;
  mounting.then(
    () => {
      isMounted = true;
    },
    () => {},
  );
  const buffer = Buffer.allocUnsafe(requestBytesMax);
  for (;;) {
    let length: number;
    try {
      ({ bytesRead: length } = await readFile(device, buffer, 0, buffer.length, null));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A request that was interrupted before it was read.
      if (code === 'ENOENT' || code === 'EINTR' || code === 'EAGAIN') continue;
      if (!isMounted && code === 'EPERM') {
        await pause(1);
        continue;
      }
      if (code !== 'ENODEV') throw error;
      await closeFile(device);
      return;
    }
    const request = parseRequest(buffer.subarray(0, length));
    const answer = disk.answer(request);
    if (answer === undefined) continue;
    try {
      writeSync(device, typeof answer === 'number' ? encodeReply(request.unique, answer) : encodeReply(request.unique, 0, answer));
    } catch (error) {
      // Whoever asked was killed meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

async function unmount(): Promise<void> {
  await run('umount', ['-l', folder]);
  await serving.ended;
}

async function carryOut(order: Order): Promise<Reply['value']> {
  switch (order.kind) {
    case 'mark':
      server.mark(order.text);
      return server.log.length;
    case 'length':
      return server.log.length;
    case 'off':
      server.switchOff();
      return server.log.length;
    case 'on':
      await unmount();
      base = afterPowerCut(base, server.log, server.log.length, seededRandom(order.seed));
      server = new DiskServer(copyOf(base));
      serving = await mount();
      return 0;
    case 'marks':
      return server.log.flatMap((operation, i) => (operation.kind === 'mark' ? [{ text: operation.text, count: i + 1 }] : []));
    case 'write out':
      writeOut(afterPowerCut(base, server.log, order.count, seededRandom(order.seed)), order.folder);
      return 0;
    case 'stop':
      await unmount();
      return 0;
  }
}

/** Makes real files of a state. */
function writeOut(state: DiskState, target: string): void {
  const written = new Map<number, string>();
  const visit = (node: number, path: string): void => {
    const file = fileOf(state, node);
    const existing = written.get(node);
    if (existing !== undefined) {
      linkSync(existing, path);
      return;
    }
    if (isFolder(file)) {
      mkdirSync(path, { recursive: true });
      for (const [name, child] of file.names) visit(child, join(path, name));
      return;
    }
    const descriptor = openSync(path, 'wx', 0o600);
    for (const [page, bytes] of file.pages) writeFile(descriptor, bytes, 0, pageBytes, page * pageBytes);
    ftruncateSync(descriptor, file.sizeBytes);
    closeSync(descriptor);
    written.set(node, path);
  };
  visit(rootNode, target);
}

let turn = Promise.resolve();
process.on('message', (order: Order & { id: number }) => {
  turn = turn.then(async (): Promise<void> => {
    const reply: Reply = await carryOut(order).then(
      (value) => ({ id: order.id, value }),
      (error: unknown) => ({ id: order.id, value: 0, error: String(error) }),
    );
    process.send?.(reply);
    if (order.kind === 'stop') process.disconnect?.();
  });
});
// The test has ended without a word.
process.on('disconnect', () => {
  spawnSync('umount', ['-l', folder]);
  process.exit();
});
process.send?.({ id: 0, value: 0 } satisfies Reply);

import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectNbd, type NbdClient, NbdError } from '../../../test/support/nbd-client.ts';
import {
  beginTalk,
  clientFlags,
  encodeName,
  encodeOption,
  encodeRequest,
  enterDisk,
  errorOf,
  readOptionReply,
} from '../../../test/support/nbd-words.ts';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import type { BlockDevice, DevicePiece } from './block-device.ts';
import { command, commandFlag, nbdError, option, optionReply, transmissionFlag } from './nbd-protocol.ts';
import { type NbdServer, type NbdServerOptions, serveNbd } from './nbd-server.ts';

const run = promisify(execFile);
const mib = 2 ** 20;
const diskBytes = 8 * mib;

interface BufferDevice extends BlockDevice {
  readonly content: Buffer;
  readonly calls: Record<'read' | 'write' | 'zero' | 'trim' | 'flush' | 'describe', number>;
  /** The next call fails with it. */
  failure: NodeJS.ErrnoException | undefined;
  /** Calls wait for it. */
  gate: Promise<unknown> | undefined;
}

/** A disk in one buffer, whose calls take a random number of turns: answers come in another order than requests. */
function bufferDevice(overrides: Partial<BlockDevice> = {}, random = seededRandom(1)): BufferDevice {
  const content = Buffer.alloc(diskBytes);
  const calls = { read: 0, write: 0, zero: 0, trim: 0, flush: 0, describe: 0 };
  const call = async (name: keyof typeof calls): Promise<void> => {
    calls[name] += 1;
    for (let turns = Math.floor(random() * 4); turns > 0; turns -= 1) await turn();
    await device.gate;
    if (device.failure === undefined) return;
    const failure = device.failure;
    device.failure = undefined;
    throw failure;
  };
  const clear = async (name: 'zero' | 'trim', offsetBytes: number, lengthBytes: number): Promise<void> => {
    await call(name);
    content.fill(0, offsetBytes, offsetBytes + lengthBytes);
  };
  const device: BufferDevice = {
    content,
    calls,
    failure: undefined,
    gate: undefined,
    sizeBytes: diskBytes,
    readOnly: false,
    async read(offsetBytes, target) {
      await call('read');
      content.copy(target, 0, offsetBytes, offsetBytes + target.length);
    },
    async write(offsetBytes, bytes) {
      await call('write');
      bytes.copy(content, offsetBytes);
    },
    zero: (offsetBytes, lengthBytes) => clear('zero', offsetBytes, lengthBytes),
    trim: (offsetBytes, lengthBytes) => clear('trim', offsetBytes, lengthBytes),
    flush: () => call('flush'),
    async describe(offsetBytes, lengthBytes) {
      await call('describe');
      return piecesOf(content.subarray(offsetBytes, offsetBytes + lengthBytes));
    },
    ...overrides,
  };
  return device;
}

function piecesOf(content: Buffer): DevicePiece[] {
  const pieces: { lengthBytes: number; hole: boolean; zero: boolean }[] = [];
  for (let at = 0; at < content.length; at += 4096) {
    const block = content.subarray(at, at + 4096);
    const isZero = block.equals(Buffer.alloc(block.length));
    const last = pieces.at(-1);
    if (last?.zero === isZero) last.lengthBytes += block.length;
    else pieces.push({ lengthBytes: block.length, hole: isZero, zero: isZero });
  }
  return pieces;
}

let dir: string;
let lastSocket = 0;
const servers: NbdServer[] = [];
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'nbd-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function serve(
  device: BlockDevice,
  options: Partial<NbdServerOptions> = {},
): Promise<{ server: NbdServer; path: string; uri: string }> {
  lastSocket += 1;
  const path = join(dir, `s${lastSocket}`);
  const server = await serveNbd({ socketPath: path, name: 'disk', device, log: silentLog, ...options });
  servers.push(server);
  return { server, path, uri: `nbd+unix:///disk?socket=${path}` };
}

/** The error number that a request was answered with; 0 for success. */
const numberOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 0,
    (error: unknown) => (error instanceof NbdError ? error.errno : error),
  );

describe('an NBD server', () => {
  it('serves the clients of QEMU and of libnbd', async () => {
    const device = bufferDevice();
    const { uri } = await serve(device);
    const io = (...commands: string[]) => run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((text) => ['-c', text]), uri]);
    await io('write -P 7 4096 1M', 'write -P 8 1000000 12345', 'write -z 8192 4096', 'discard 12288 4096', 'flush', 'read -P 7 4096 4096');
    await expect(io('read -P 9 4096 4096')).rejects.toMatchObject({ stdout: expect.stringContaining('Pattern verification failed') });
    const copy = join(dir, 'copy');
    await run('nbdcopy', [uri, copy]);
    expect(readFileSync(copy).equals(device.content)).toBe(true);
    expect(device.content.subarray(8192, 16_384).equals(Buffer.alloc(8192))).toBe(true);
    expect(device.calls.describe).toBeGreaterThan(0);

    const { stdout } = await run('nbdinfo', ['--json', uri]);
    expect(JSON.parse(stdout)).toMatchObject({
      protocol: 'newstyle-fixed',
      structured: true,
      exports: [
        { 'export-name': 'disk', 'export-size': diskBytes, is_read_only: false, can_multi_conn: true, block_size_maximum: 32 * mib },
      ],
    });
    const { stdout: list } = await run('nbdinfo', ['--list', '--json', `nbd+unix:///?socket=${uri.split('=')[1]}`]);
    expect(JSON.parse(list).exports).toHaveLength(1);
    const { stdout: map } = await run('qemu-img', ['map', '--output=json', '-f', 'raw', uri]);
    expect(JSON.parse(map)[0]).toMatchObject({ start: 0, length: 4096, zero: true, data: false });
  });

  it('takes a whole disk from nbdcopy, over several connections', async () => {
    const device = bufferDevice();
    const { uri, server } = await serve(device);
    const source = join(dir, 'source');
    const random = seededRandom(2);
    writeFileSync(source, Buffer.concat([Buffer.from(Array.from({ length: 4 * mib }, () => random() * 256)), Buffer.alloc(4 * mib)]));
    await run('nbdcopy', ['--flush', source, uri]);
    expect(device.content.equals(readFileSync(source))).toBe(true);
    expect(device.calls.flush).toBeGreaterThan(0);
    await expect.poll(() => server.connectionCount()).toBe(0);
  });

  it('is private to its user', async () => {
    const { path } = await serve(bufferDevice());
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('refuses to be started where something is already', async () => {
    const { path } = await serve(bufferDevice());
    await expect(serveNbd({ socketPath: path, name: 'disk', device: bufferDevice(), log: silentLog })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });

  it('says no to writes when the disk is for reading only', async () => {
    const { path, uri } = await serve(bufferDevice({ readOnly: true }));
    const talk = await enterDisk(path);
    expect(talk.flags & transmissionFlag.readOnly).toBe(transmissionFlag.readOnly);
    talk.socket.destroy();
    const client = await connectNbd(path);
    expect(await numberOf(client.write(0, Buffer.alloc(512)))).toBe(nbdError.permission);
    expect(await numberOf(client.zero(0, 512))).toBe(nbdError.permission);
    expect(await numberOf(client.trim(0, 512))).toBe(nbdError.permission);
    expect((await client.read(0, 512)).length).toBe(512);
    await client.close();
    await expect(run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', uri])).rejects.toThrow();
  });

  it('tells a full disk from a broken one, and goes on', async () => {
    const device = bufferDevice();
    const { path } = await serve(device);
    const client = await connectNbd(path);
    device.failure = Object.assign(new Error('full'), { code: 'ENOSPC' });
    expect(await numberOf(client.write(0, Buffer.alloc(512)))).toBe(nbdError.noSpace);
    device.failure = new Error('broken');
    expect(await numberOf(client.read(0, 512))).toBe(nbdError.io);
    device.failure = new Error('broken');
    expect(await numberOf(client.flush())).toBe(nbdError.io);
    await client.write(0, Buffer.alloc(512, 3));
    expect((await client.read(0, 512)).equals(Buffer.alloc(512, 3))).toBe(true);
    await client.close();
  });

  it('flushes before it answers a write that asks for it', async () => {
    const device = bufferDevice();
    const { path } = await serve(device);
    const client = await connectNbd(path);
    await client.write(0, Buffer.alloc(512, 1));
    expect(device.calls.flush).toBe(0);
    await client.close();
    const talk = await enterDisk(path);
    expect(await errorOf(talk, { command: command.write, flags: commandFlag.fua, payload: Buffer.alloc(512, 1) })).toBe(0);
    expect(device.calls.flush).toBe(1);
    talk.socket.destroy();
  });

  it('ends what is under way, and flushes, before it is closed', async () => {
    const device = bufferDevice();
    const { path, server } = await serve(device);
    const client = await connectNbd(path);
    const gate = Promise.withResolvers<void>();
    device.gate = gate.promise;
    const written = client.write(4096, Buffer.alloc(4096, 5)).catch(() => {});
    await expect.poll(() => device.calls.write).toBe(1);
    const closed = server.close();
    expect(await Promise.race([closed.then(() => 'closed'), turn('open')])).toBe('open');
    gate.resolve();
    await closed;
    await server.close();
    await written;
    expect(device.content.subarray(4096, 8192).equals(Buffer.alloc(4096, 5))).toBe(true);
    expect(device.calls.flush).toBe(1);
    await expect(connectNbd(path)).rejects.toThrow();
  });

  it('does not wait for clients that do nothing when it is closed', async () => {
    const { path, server } = await serve(bufferDevice());
    const [begun, entered] = [await beginTalk(path), await enterDisk(path)];
    expect(server.connectionCount()).toBe(2);
    await server.close();
    for (const { stream } of [begun, entered]) await expect(stream.read(1)).rejects.toThrow('disconnected');
    expect(server.connectionCount()).toBe(0);
  });

  it('keeps what several clients do at once equal to a plain buffer', async () => {
    const clientCount = 3;
    const shareBytes = Math.floor(diskBytes / clientCount / 4096) * 4096;
    const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
    process.stdout.write(`NBD clients at once: STILLPOINT_TEST_SEED=${seed}\n`);
    const random = seededRandom(seed);
    const device = bufferDevice({}, random);
    const { path } = await serve(device);
    const model = Buffer.alloc(diskBytes);
    /** Ranges that do not touch each other: they may be done in any order. */
    const batch = (from: number): { at: number; length: number; kind: number; pattern: number }[] => {
      const steps = Array.from({ length: 12 }, (_, i) => ({
        from: from + Math.floor((i * shareBytes) / 12),
        room: Math.floor(shareBytes / 12),
      }));
      return steps.map(({ from: start, room }) => {
        const at = start + Math.floor(random() * (room - 1));
        return {
          at,
          length: 1 + Math.floor(random() ** 3 * (start + room - at - 1)),
          kind: Math.floor(random() * 4),
          pattern: 1 + Math.floor(random() * 255),
        };
      });
    };
    const play = async (client: NbdClient, from: number): Promise<void> => {
      for (let round = 0; round < 8; round += 1) {
        await Promise.all(
          batch(from).map(async ({ at, length, kind, pattern }) => {
            if (kind === 0) return expect((await client.read(at, length)).equals(model.subarray(at, at + length))).toBe(true);
            model.fill(kind === 1 ? pattern : 0, at, at + length);
            await (kind === 1
              ? client.write(at, Buffer.alloc(length, pattern))
              : kind === 2
                ? client.zero(at, length)
                : client.trim(at, length));
          }),
        );
        await client.flush();
      }
    };
    const clients = await Promise.all(Array.from({ length: clientCount }, () => connectNbd(path, 'disk')));
    await Promise.all(clients.map((client, i) => play(client, i * shareBytes)));
    for (const client of clients) expect((await client.read(0, diskBytes)).equals(model)).toBe(true);
    expect(device.content.equals(model)).toBe(true);
    await Promise.all(clients.map((client) => client.close()));
  });
});

describe('a client that is not a friend', () => {
  const worksFor = async (path: string): Promise<void> => {
    const client = await connectNbd(path);
    await client.write(0, Buffer.alloc(512, 9));
    expect((await client.read(0, 512)).equals(Buffer.alloc(512, 9))).toBe(true);
    await client.close();
  };
  /** Sends it all and hangs up; what the server says meanwhile is thrown away. */
  const throwAt = (path: string, ...parts: Buffer[]): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(path, () => socket.end(Buffer.concat(parts)));
      socket.resume();
      socket.on('error', () => {});
      socket.on('close', () => resolve());
    });

  it('does no harm with any bytes whatsoever, at any moment', async () => {
    const { path, server } = await serve(bufferDevice());
    const openFiles = (): number => readdirSync('/proc/self/fd').length;
    const openBefore = openFiles();
    const greeting = clientFlags;
    const go = encodeOption(option.go, encodeName(''));
    const word = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc.constantFrom(greeting, go, encodeOption(option.structuredReply), encodeRequest({ command: command.disconnect })),
      fc.record({ id: fc.nat(12), data: fc.uint8Array({ maxLength: 40 }) }).map(({ id, data }) => encodeOption(id, Buffer.from(data))),
      fc
        .record({
          command: fc.nat(9),
          flags: fc.constantFrom(0, 1, 2, 8, 65_535),
          offsetBytes: fc.bigInt(0n, 2n ** 64n - 1n),
          lengthBytes: fc.nat(),
        })
        .map((request) => encodeRequest(request)),
    );
    const begin = fc.constantFrom([], [greeting], [greeting, go]);
    await fc.assert(
      fc.asyncProperty(begin, fc.array(word, { maxLength: 6 }), async (first, words) => {
        await throwAt(path, ...first, ...words.map((bytes) => Buffer.from(bytes)));
      }),
      { numRuns: 300 },
    );
    await expect.poll(() => server.connectionCount()).toBe(0);
    await expect.poll(openFiles).toBeLessThanOrEqual(openBefore);
    await worksFor(path);
  });

  it.each([
    ['an option that claims 4 GiB', [clientFlags, encodeOption(option.go).fill(0xff, 12, 16)]],
    ['flags that nobody knows', [Buffer.from([0, 0, 0, 0x80])]],
    ['an old way to ask for something', [Buffer.from([0, 0, 0, 0]), encodeOption(option.list)]],
    ['the name of another disk in the oldest way', [clientFlags, encodeOption(option.exportName, Buffer.from('other'))]],
    [
      'a write that claims 4 GiB',
      [clientFlags, encodeOption(option.go, encodeName('')), encodeRequest({ command: command.write, lengthBytes: 2 ** 32 - 1 })],
    ],
  ])('is sent away after %s', async (_what, parts) => {
    const device = bufferDevice();
    const { path, server } = await serve(device);
    const socket = connect(path);
    socket.on('error', () => {});
    socket.resume();
    for (const part of parts) socket.write(part);
    await new Promise((resolve) => socket.on('close', resolve));
    await expect.poll(() => server.connectionCount()).toBe(0);
    expect(device.calls).toEqual({ read: 0, write: 0, zero: 0, trim: 0, flush: 0, describe: 0 });
    await worksFor(path);
  });

  it('gets an error for what cannot be, and may go on', async () => {
    const { path } = await serve(bufferDevice());
    const talk = await enterDisk(path);
    const ends = [BigInt(diskBytes), BigInt(diskBytes) - 511n, 2n ** 64n - 1n, 2n ** 63n];
    for (const offsetBytes of ends) {
      expect(await errorOf(talk, { command: command.write, offsetBytes, payload: Buffer.alloc(512) })).toBe(nbdError.noSpace);
      expect(await errorOf(talk, { command: command.trim, offsetBytes, lengthBytes: 512 })).toBe(nbdError.noSpace);
    }
    expect(await errorOf(talk, { command: command.read, offsetBytes: BigInt(diskBytes), lengthBytes: 512 })).toBe(nbdError.invalid);
    expect(await errorOf(talk, { command: command.read, lengthBytes: 2 ** 32 - 1 })).toBe(nbdError.invalid);
    expect(await errorOf(talk, { command: command.read, flags: 4, lengthBytes: 512 })).toBe(nbdError.invalid);
    expect(await errorOf(talk, { command: 99 })).toBe(nbdError.invalid);
    expect(await errorOf(talk, { command: command.blockStatus, lengthBytes: 512 })).toBe(nbdError.invalid);
    for (const asked of [command.read, command.write, command.trim, command.writeZeroes])
      expect(await errorOf(talk, { command: asked, lengthBytes: 0 })).toBe(0);
    talk.socket.destroy();
    await worksFor(path);
  });

  it('that asks for more than one request may have gets none of it, on a disk that has it', async () => {
    const { path } = await serve(bufferDevice({ sizeBytes: 2 ** 40 }));
    const talk = await enterDisk(path);
    expect(await errorOf(talk, { command: command.read, lengthBytes: 32 * mib + 1 })).toBe(nbdError.overflow);
    talk.socket.destroy();
  });

  it('that does not fetch its answers holds up nobody but itself', async () => {
    const device = bufferDevice();
    const { path, server } = await serve(device);
    // Nobody reads from its stream, so that what comes stays in the kernel.
    const greedy = await enterDisk(path);
    const requests = Array.from({ length: 400 }, () => encodeRequest({ command: command.read, lengthBytes: mib }));
    greedy.socket.write(Buffer.concat(requests));
    await expect.poll(() => device.calls.read).toBeGreaterThanOrEqual(16);
    await worksFor(path);
    // 16 under way, and what the kernel holds between the two.
    expect(device.calls.read).toBeLessThan(30);
    greedy.socket.destroy();
    await expect.poll(() => server.connectionCount()).toBe(0);
    // Nor is anything done for it after it has left.
    expect(device.calls.read).toBeLessThan(60);
  });

  it('that never comes to the point is sent away', async () => {
    const { path, server } = await serve(bufferDevice(), { handshakeTimeoutMs: 50 });
    const { socket, stream } = await beginTalk(path);
    await expect(stream.read(1)).rejects.toThrow('disconnected');
    socket.destroy();
    await expect.poll(() => server.connectionCount()).toBe(0);
  });

  it('is one of so many that are let in', async () => {
    const { path } = await serve(bufferDevice(), { connectionsMax: 2 });
    const [one, two] = [await connectNbd(path), await connectNbd(path)];
    await expect(connectNbd(path)).rejects.toThrow('closed');
    await one.close();
    await worksFor(path);
    await two.close();
  });

  it('is told which options there are not, and which names', async () => {
    const { path } = await serve(bufferDevice());
    const talk = await beginTalk(path);
    const { socket, stream } = talk;
    const ask = async (id: number, data?: Buffer): Promise<number> => {
      await stream.write(encodeOption(id, data));
      return (await readOptionReply(talk)).type;
    };
    expect(await ask(5)).toBe(optionReply.unsupported);
    expect(await ask(77, Buffer.alloc(100))).toBe(optionReply.unsupported);
    expect(await ask(option.list, Buffer.alloc(1))).toBe(optionReply.invalid);
    expect(await ask(option.go, encodeName('other'))).toBe(optionReply.unknown);
    expect(await ask(option.info, Buffer.alloc(3))).toBe(optionReply.invalid);
    expect(await ask(option.info, Buffer.concat([encodeName(''), Buffer.alloc(1)]))).toBe(optionReply.invalid);
    // Structure comes first.
    expect(await ask(option.setMetaContext, Buffer.alloc(8))).toBe(optionReply.invalid);
    expect(await ask(option.structuredReply)).toBe(optionReply.ack);
    expect(await ask(option.setMetaContext, Buffer.from('00000000ffffffff', 'hex'))).toBe(optionReply.invalid);
    expect(await ask(option.listMetaContext, Buffer.alloc(8))).toBe(optionReply.metaContext);
    expect((await readOptionReply(talk)).type).toBe(optionReply.ack);
    expect(await ask(option.abort)).toBe(optionReply.ack);
    await expect(stream.read(1)).rejects.toThrow('disconnected');
    socket.destroy();
  });
});

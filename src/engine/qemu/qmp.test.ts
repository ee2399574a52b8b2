import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectQmp, type QmpEvent } from './qmp.ts';

/** The misbehaviour that a real monitor shows only when something is broken. The real one is used in all tests of exports. */
let dir: string;
let server: Server | undefined;
const sockets = new Set<Socket>();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'qmp-'));
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server?.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Command {
  readonly execute: string;
  readonly id: number;
}

async function monitor(greeting: string, answer: (command: Command, socket: Socket) => void): Promise<string> {
  const path = join(dir, 'monitor');
  const listening = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.write(greeting);
    socket.on('data', (data) => {
      for (const line of data.toString().trim().split('\n')) answer(JSON.parse(line) as Command, socket);
    });
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(path, resolve));
  return path;
}

const hello = '{"QMP": {"version": {}, "capabilities": []}}\r\n';
const ok = ({ id }: Command, socket: Socket): boolean => socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);

describe('connectQmp', () => {
  it('gives up on a monitor that does not greet, as one does that has another client', async () => {
    const path = await monitor('', ok);
    await expect(connectQmp(path, { timeoutMs: 50 })).rejects.toMatchObject({ failure: 'timed-out' });
  });

  it('fails at once when nobody listens', async () => {
    await expect(connectQmp(join(dir, 'nobody'))).rejects.toMatchObject({ failure: 'disconnected' });
  });

  it('gives up on a command that is not answered', async () => {
    const path = await monitor(hello, (command, socket) => command.execute === 'qmp_capabilities' && ok(command, socket));
    const client = await connectQmp(path);
    await expect(client.execute('query-status', {}, { timeoutMs: 50 })).rejects.toMatchObject({ failure: 'timed-out' });
    client.close();
  });

  it('matches answers to commands by their ids, in any order, and hears events in between', async () => {
    const waiting: Command[] = [];
    const path = await monitor(hello, (command, socket) => {
      if (command.execute === 'qmp_capabilities') return ok(command, socket);
      waiting.push(command);
      if (waiting.length < 2) return;
      socket.write('{"event": "STOP", "timestamp": {}}\r\n');
      for (const { execute, id } of waiting.reverse()) socket.write(`${JSON.stringify({ return: execute, id })}\r\n`);
    });
    const events: QmpEvent[] = [];
    const client = await connectQmp(path, { onEvent: (event) => events.push(event) });
    expect(await Promise.all([client.execute('first'), client.execute('second')])).toEqual(['first', 'second']);
    expect(events.map(({ event }) => event)).toEqual(['STOP']);
    client.close();
  });

  it('tells a refusal from a lost connection', async () => {
    const path = await monitor(hello, (command, socket) => {
      if (command.execute === 'qmp_capabilities') ok(command, socket);
      else if (command.execute === 'bad')
        socket.write(`${JSON.stringify({ error: { class: 'GenericError', desc: 'no such node' }, id: command.id })}\r\n`);
      else socket.destroy();
    });
    const client = await connectQmp(path);
    await expect(client.execute('bad')).rejects.toMatchObject({ failure: 'refused', message: 'no such node' });
    await expect(client.execute('quit')).rejects.toMatchObject({ failure: 'disconnected' });
    await expect(client.execute('again')).rejects.toMatchObject({ failure: 'disconnected' });
  });

  it('takes answers in pieces, and drops a server that does not speak the protocol', async () => {
    const path = await monitor(hello.slice(0, 10), (command, socket) => {
      if (command.execute === 'qmp_capabilities') ok(command, socket);
      else socket.write('what?\r\n');
    });
    setTimeout(() => [...sockets][0]?.write(hello.slice(10)), 20);
    const client = await connectQmp(path);
    await expect(client.execute('query-status')).rejects.toMatchObject({ failure: 'disconnected' });
  });
});

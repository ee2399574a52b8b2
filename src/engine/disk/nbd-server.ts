/**
 * Serves one block device of this process to NBD clients on a unix socket: fixed newstyle handshake, structured answers and the allocation
 * of ranges for those who ask, any number of connections up to a bound.
 *
 * Who may connect is decided by who can reach the socket: it belongs into a folder that nobody else can enter. Beyond that clients
 * are strangers. Whatever they send costs them their own connection at most.
 */
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { type NbdExport, NbdProtocolError, shakeHands } from './nbd-handshake.ts';
import { serveRequests } from './nbd-requests.ts';
import { DisconnectedError, streamOf } from './nbd-stream.ts';

export interface NbdServerOptions extends NbdExport {
  /** At most 107 bytes. Nothing may be there yet. */
  readonly socketPath: string;
  readonly log: Log;
  /** More are turned away. */
  readonly connectionsMax?: number;
  /** A client that has not agreed on an export by then is sent away. */
  readonly handshakeTimeoutMs?: number;
}

export interface NbdServer {
  connectionCount(): number;
  /** Takes no more requests, ends those that are under way, flushes the device, and removes the socket. May be called again. */
  close(): Promise<void>;
}

const defaultConnectionsMax = 16;
const defaultHandshakeTimeoutMs = 10_000;

export async function serveNbd(options: NbdServerOptions): Promise<NbdServer> {
  const connections = new Map<Socket, Promise<void>>();
  const server = createServer((socket) => {
    const ended = serveConnection(socket, options).finally(() => connections.delete(socket));
    connections.set(socket, ended);
  });
  server.maxConnections = options.connectionsMax ?? defaultConnectionsMax;
  await listen(server, options.socketPath);
  // Say, no more file descriptors: whoever came is turned away, the others stay.
  server.on('error', (error) => options.log.warn({ error: error.message }, 'an NBD client could not be let in'));
  let closed: Promise<void> | undefined;
  return {
    connectionCount: () => connections.size,
    close() {
      closed ??= (async () => {
        const stopped = new Promise((resolve) => server.close(resolve));
        for (const socket of connections.keys()) socket.destroy();
        await Promise.all([stopped, ...connections.values()]);
        await options.device.flush();
      })();
      return closed;
    },
  };
}

async function listen(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(socketPath, 0o600);
}

/** Never fails: what goes wrong is over with the connection. */
async function serveConnection(socket: Socket, options: NbdServerOptions): Promise<void> {
  const { log, device } = options;
  const stream = streamOf(socket);
  const timer = setTimeout(() => socket.destroy(), options.handshakeTimeoutMs ?? defaultHandshakeTimeoutMs);
  try {
    const agreement = await shakeHands(stream, options);
    clearTimeout(timer);
    if (agreement !== undefined) await serveRequests({ stream, device, agreement, log });
    socket.destroySoon();
  } catch (error) {
    if (error instanceof NbdProtocolError) log.info({ reason: error.message }, 'an NBD client does not keep to the protocol');
    else if (!(error instanceof DisconnectedError)) log.error({ error: messageOf(error) }, 'an NBD connection failed');
    socket.destroy();
  } finally {
    clearTimeout(timer);
    if (!socket.closed) await once(socket, 'close');
  }
}

/**
 * One connection of an NBD server as a stream of exact lengths. What the client sends and nobody asked for yet stays with the kernel; what
 * it does not fetch holds up whoever writes.
 */
import type { Socket } from 'node:net';

/** The client is gone. */
export class DisconnectedError extends Error {
  constructor(options?: { cause?: unknown }) {
    super('the client has disconnected', options);
    this.name = 'DisconnectedError';
  }
}

export interface NbdStream {
  /** Exactly so many bytes. Callers check lengths that a client chose before they ask for them. */
  read(lengthBytes: number): Promise<Buffer>;
  /** Ends when the kernel has taken everything. */
  write(...parts: readonly Buffer[]): Promise<void>;
}

export function streamOf(socket: Socket): NbdStream {
  const waitForBytes = createWait(socket);
  return {
    async read(lengthBytes) {
      const target = Buffer.allocUnsafe(lengthBytes);
      for (let done = 0; done < lengthBytes; ) {
        // What a client sent before it left is of no use to anybody: there may be hundreds of requests.
        if (socket.destroyed) throw new DisconnectedError();
        // Never more than there is, for that would make the socket hold as much from then on; one, where there is nothing, asks for more.
        const part = socket.read(Math.min(lengthBytes - done, Math.max(1, socket.readableLength))) as Buffer | null;
        if (part === null) await waitForBytes();
        else done += part.copy(target, done);
      }
      return target;
    },
    write(...parts) {
      return new Promise((resolve, reject) => {
        const settle = (cause?: Error | null): void => {
          if (cause === undefined || cause === null) resolve();
          else reject(new DisconnectedError({ cause }));
        };
        socket.cork();
        parts.forEach((part, index) => {
          socket.write(part, index === parts.length - 1 ? settle : undefined);
        });
        socket.uncork();
      });
    },
  };
}

/** Waits until there is something to read; throws when there never will be. */
function createWait(socket: Socket): () => Promise<void> {
  let wake: (() => void) | undefined;
  let ended = false;
  const wakeUp = (): void => {
    wake?.();
    wake = undefined;
  };
  const end = (): void => {
    ended = true;
    wakeUp();
  };
  socket.on('readable', wakeUp);
  for (const event of ['end', 'close', 'error'] as const) socket.on(event, end);
  return async () => {
    if (!ended && socket.readableLength === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (ended && socket.readableLength === 0) throw new DisconnectedError();
  };
}

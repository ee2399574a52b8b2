/**
 * A socket that is read on demand: an agent that never stops talking fills its own end, not our memory. What is kept lies in one buffer, however small
 * the pieces were in which it came.
 */
import { connect } from 'node:net';
import { GuestAgentError } from './guest-agent-error.ts';
import { garbled } from './guest-agent-replies.ts';

export interface GuestAgentStream {
  connected(): Promise<void>;
  write(bytes: Buffer | string): void;
  /** What comes before the next `end`, which is taken too. `garbled` when it has not come after `bytesMax`. One caller at a time. */
  takeUntil(end: number, bytesMax: number): Promise<Buffer>;
  /** Throws what comes before the next `end` away and returns how many bytes that were. */
  skipUntil(end: number, bytesMax: number): Promise<number>;
  close(): void;
}

const firstBytes = 4096;

/** Every promise of it rejects with `not-connected` when the connection ends. */
export function openGuestAgentStream(socketPath: string): GuestAgentStream {
  const socket = connect(socketPath);
  let ended: GuestAgentError | undefined;
  let isConnected = false;
  let wake = (): void => {};
  const end = (why: string, cause?: unknown): void => {
    ended ??= new GuestAgentError('not-connected', why, { cause });
    socket.destroy();
    wake();
  };
  socket.on('connect', () => {
    isConnected = true;
    wake();
  });
  socket.on('readable', () => wake());
  socket.on('error', (cause) => end(`the guest agent's channel cannot be reached: ${cause.message}`, cause));
  socket.on('end', () => end("the guest agent's channel was closed"));
  socket.on('close', () => end("the guest agent's channel was closed"));

  const until = async <T>(look: () => T | null): Promise<T> => {
    for (;;) {
      const found = look();
      if (found !== null) return found;
      if (ended !== undefined) throw ended;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };

  const take = async (endByte: number, bytesMax: number, onPart: (part: Buffer, at: number) => void): Promise<number> => {
    for (let length = 0; ; ) {
      const chunk = await until(() => socket.read() as Buffer | null);
      const at = chunk.indexOf(endByte);
      const part = at === -1 ? chunk : chunk.subarray(0, at);
      if (length + part.length > bytesMax) throw garbled('more than an answer may be');
      onPart(part, length);
      length += part.length;
      if (at === -1) continue;
      if (at + 1 < chunk.length) socket.unshift(chunk.subarray(at + 1));
      return length;
    }
  };

  return {
    connected: () => until(() => (isConnected ? undefined : null)) as Promise<void>,
    write: (bytes) => void socket.write(bytes),
    async takeUntil(endByte, bytesMax) {
      let kept = Buffer.alloc(firstBytes);
      const length = await take(endByte, bytesMax, (part, at) => {
        if (at + part.length > kept.length) kept = Buffer.concat([kept], Math.max(kept.length * 2, at + part.length));
        part.copy(kept, at);
      });
      return kept.subarray(0, length);
    },
    skipUntil: (endByte, bytesMax) => take(endByte, bytesMax, () => {}),
    close: () => void socket.destroy(),
  };
}

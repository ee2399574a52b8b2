/** The process side of the data mover: runs what the service asks for, reports progress a few times a second, passes on aborts. */
import { plainErrorOf } from '../repository/errors.ts';
import type { DataMover, RestoreCallOptions } from './contract.ts';
import type { MoverAnswer, MoverMessage, MoverRequest } from './mover-protocol.ts';

const PROGRESS_EVERY_MS = 250;

export interface MoverChannel {
  send(answer: MoverAnswer): void;
  onMessage(listener: (message: MoverMessage) => void): void;
}

export function serveMover(mover: DataMover, channel: MoverChannel): void {
  const aborts = new Map<number, AbortController>();
  const admissions = new Map<number, () => void>();

  /** Asks, and waits for the answer or the abort. */
  const admission = (call: number, bytes: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted();
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      admissions.set(call, resolve);
      channel.send({ call, needs: bytes });
    });

  const run = (request: MoverRequest, options: RestoreCallOptions): Promise<unknown> => {
    switch (request.method) {
      case 'initRepository':
        return mover.initRepository(request.argument);
      case 'backup':
        return mover.backup(request.argument, options);
      case 'restore':
        return mover.restore(request.argument, options);
      case 'restoreOnto':
        return mover.restoreOnto(request.argument, options);
      case 'tombstone':
        return mover.tombstone(request.argument.repository, request.argument.domain, request.argument.session);
      case 'identify':
        return mover.identify(request.argument.repository, request.argument.domain, request.argument.session);
    }
  };

  const serve = async (request: MoverRequest): Promise<void> => {
    const { call } = request;
    const abort = new AbortController();
    aborts.set(call, abort);
    const onProgress = paced((doneBytes, totalBytes) => channel.send({ call, progress: [doneBytes, totalBytes] }));
    const { signal } = abort;
    try {
      channel.send({ call, value: await run(request, { signal, onProgress, admit: (bytes) => admission(call, bytes, signal) }) });
    } catch (error) {
      channel.send({ call, error: plainErrorOf(error) });
    } finally {
      aborts.delete(call);
      admissions.delete(call);
    }
  };

  channel.onMessage((message) => {
    if ('abort' in message) aborts.get(message.abort)?.abort();
    else if ('admitted' in message) admissions.get(message.admitted)?.();
    else void serve(message);
  });
}

type Progress = (doneBytes: number, totalBytes: number) => void;

/** Lets the first and the last report through, and one each quarter of a second between. */
function paced(report: Progress): Progress {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (doneBytes, totalBytes) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < PROGRESS_EVERY_MS && doneBytes < totalBytes) return;
    lastMs = nowMs;
    report(doneBytes, totalBytes);
  };
}

/**
 * A client of QEMU's monitor protocol: one JSON object a line over a unix socket. The server greets, the client answers with
 * `qmp_capabilities`, then each command gets one reply with its id; events may come in between.
 *
 * A monitor serves one client at a time, and a second one just waits: hence every wait has an end, and callers own a monitor alone.
 */
import { connect, type Socket } from 'node:net';

export type QmpFailure =
  /** The server said no; it goes on running. */
  'refused' | 'timed-out' | 'disconnected';

export class QmpError extends Error {
  readonly failure: QmpFailure;

  constructor(failure: QmpFailure, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'QmpError';
    this.failure = failure;
  }
}

export interface QmpEvent {
  readonly event: string;
  readonly data?: unknown;
}

export interface QmpClient {
  /** Runs one command. The caller knows the shape of its answer. */
  execute<Answer>(command: string, args?: object, options?: { timeoutMs?: number }): Promise<Answer>;
  close(): void;
}

export interface QmpOptions {
  readonly timeoutMs?: number;
  readonly onEvent?: (event: QmpEvent) => void;
  /** A connection that was made is over, whoever ended it. */
  readonly onEnd?: () => void;
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Message {
  readonly QMP?: unknown;
  readonly id?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class?: string; readonly desc?: string };
  readonly event?: string;
  readonly data?: unknown;
}

const defaultTimeoutMs = 10_000;
const messageBytesMax = 16 * 1024 * 1024;

/** Connects and negotiates. The connection is ready for commands. */
export async function connectQmp(socketPath: string, options: QmpOptions = {}): Promise<QmpClient> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const connection = openConnection(connect(socketPath), options.onEvent);
  try {
    await within(connection.greeting, timeoutMs, 'the monitor did not greet: another client may hold it');
    const client = clientOf(connection, timeoutMs);
    await client.execute('qmp_capabilities');
    if (connection.ended !== undefined) throw connection.ended;
    connection.socket.on('close', () => options.onEnd?.());
    return client;
  } catch (error) {
    connection.socket.destroy();
    throw error;
  }
}

interface Connection {
  readonly socket: Socket;
  readonly greeting: Promise<void>;
  readonly waiting: Map<number, Waiting>;
  /** Set once the connection is over. */
  ended: Error | undefined;
}

function openConnection(socket: Socket, onEvent: QmpOptions['onEvent']): Connection {
  const waiting = new Map<number, Waiting>();
  const greeting = Promise.withResolvers<void>();
  // It is awaited at once by the only caller, but may be rejected before that.
  greeting.promise.catch(() => {});
  const connection: Connection = { socket, greeting: greeting.promise, waiting, ended: undefined };
  const end = (reason: string, cause?: unknown): void => {
    connection.ended ??= new QmpError('disconnected', reason, { cause });
    socket.destroy();
    greeting.reject(connection.ended);
    for (const { reject } of waiting.values()) reject(connection.ended);
    waiting.clear();
  };
  const handle = (message: Message): void => {
    if (message.QMP !== undefined) greeting.resolve();
    else if (message.event !== undefined) onEvent?.({ event: message.event, data: message.data });
    else settle(waiting, message);
  };
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > messageBytesMax) return end('the monitor sent too much');
    for (const line of lines) {
      if (line.trim() === '') continue;
      try {
        handle(JSON.parse(line) as Message);
      } catch (cause) {
        return end('the monitor sent something that is not JSON', cause);
      }
    }
  });
  socket.on('error', (cause) => end(`the monitor cannot be reached: ${cause.message}`, cause));
  socket.on('close', () => end('the monitor closed the connection'));
  return connection;
}

function settle(waiting: Map<number, Waiting>, message: Message): void {
  const waiter = waiting.get(Number(message.id));
  if (waiter === undefined) return;
  waiting.delete(Number(message.id));
  if (message.error === undefined) waiter.resolve(message.return);
  else waiter.reject(new QmpError('refused', message.error.desc ?? message.error.class ?? 'refused without a reason'));
}

function clientOf(connection: Connection, clientTimeoutMs: number): QmpClient {
  let lastId = 0;
  return {
    async execute<Answer>(command: string, args?: object, options?: { timeoutMs?: number }): Promise<Answer> {
      if (connection.ended !== undefined) throw connection.ended;
      const id = ++lastId;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      connection.waiting.set(id, { resolve, reject });
      connection.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      try {
        return (await within(promise, options?.timeoutMs ?? clientTimeoutMs, `the monitor did not answer ${command}`)) as Answer;
      } finally {
        connection.waiting.delete(id);
      }
    },
    close: () => connection.socket.destroy(),
  };
}

function within<T>(promise: Promise<T>, timeoutMs: number, complaint: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new QmpError('timed-out', `${complaint} within ${timeoutMs} ms`)), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * The bytes between us and the agent in a guest: a line of JSON each way over the unix socket of a virtio-serial port.
 *
 * The port has no idea of connections. Whatever the agent still had to say to somebody before us comes first, and whatever that somebody began to
 * write stands in the agent's parser. `guest-sync-delimited` cuts that off: a byte 0xFF, which is in no JSON, resets the agent's parser, and the agent
 * puts one before its answer, which has our number. What comes before it is thrown away.
 */
import { randomInt } from 'node:crypto';
import { GuestAgentError } from './guest-agent-error.ts';
import { answerIn, garbled } from './guest-agent-replies.ts';
import { type GuestAgentStream, openGuestAgentStream } from './guest-agent-stream.ts';

/** A connection on which question and answer are in step. */
export interface GuestAgentChannel {
  /** Sends one command and takes its answer. After any error but `refused` the channel is of no use any more: close it. */
  ask(command: string, args: object | undefined, timeoutMs: number): Promise<unknown>;
  close(): void;
}

const replyBytesMax = 4 * 2 ** 20;
/** The output of a command that nobody waited for may come first; the agent ends it at 16 MiB, a third more as base64. */
const leftoverBytesMax = 32 * 2 ** 20;
/** Each attempt before ours may have left an answer of its own. */
const leftoverAnswersMax = 64;
const delimiter = 0xff;
const lineEnd = 0x0a;

/** Connects and brings both ends in step. */
export async function openGuestAgentChannel(socketPath: string, timeoutMs: number): Promise<GuestAgentChannel> {
  const stream = openGuestAgentStream(socketPath);
  try {
    await within(
      stream.connected().then(() => synchronize(stream)),
      timeoutMs,
      'answer guest-sync-delimited',
    );
  } catch (error) {
    stream.close();
    throw error;
  }
  return {
    ask(command, args, commandTimeoutMs) {
      stream.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
      return within(stream.takeUntil(lineEnd, replyBytesMax).then(answerIn), commandTimeoutMs, `answer ${command}`);
    },
    close: () => stream.close(),
  };
}

async function synchronize(stream: GuestAgentStream): Promise<void> {
  const id = randomInt(2 ** 47);
  stream.write(Buffer.of(delimiter));
  stream.write(`${JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } })}\n`);
  let leftoverBytes = 0;
  for (let answers = 0; answers < leftoverAnswersMax; answers += 1) {
    leftoverBytes += await stream.skipUntil(delimiter, leftoverBytesMax - leftoverBytes);
    const line = await stream.takeUntil(lineEnd, replyBytesMax);
    if (isAnswer(line.subarray(line.lastIndexOf(delimiter) + 1), id)) return;
  }
  throw garbled('too many answers that nobody asked for');
}

/** Answers to those who were here before us are none, nor is anything else behind a stray delimiter. */
function isAnswer(line: Buffer, id: number): boolean {
  try {
    return answerIn(line) === id;
  } catch {
    return false;
  }
}

function within<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new GuestAgentError('timed-out', `the guest agent did not ${what} within ${Math.round(timeoutMs)} ms`));
    const timer = setTimeout(late, timeoutMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
